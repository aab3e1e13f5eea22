//! Publishers and viewers on a network that may go wrong, and an oracle that knows what was
//! published and holds everything against it that is delivered.
//!
//! What it holds of every packet that a viewer gets: the path is the viewer's, the bytes are those
//! that were published, it comes once, its sequence number and timestamp lie where those of its
//! source do, and the numbers of two sources do not mix. What a viewer can show of it is for its
//! [`Player`] to say.
//!
//! Publishers send 30 frames a second and Opus every 20 ms, begin with a keyframe, and make another
//! one when asked, one frame later.

mod field;
mod film;
mod player;
mod reel;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use kvill_core::Config;
use str0m::format::Codec;
use str0m::media::MediaKind;
use str0m::rtp::RtpPacket;

pub use self::field::{Field, Line};
pub use self::film::{Film, Films, Shot};
pub use self::player::{Patience, Player};
pub use self::reel::{Delivered, Reel, Take};
use crate::client::Options;
use crate::client::media::Source;
use crate::memory::{ClientId, World};
use crate::network::Profile;

/// Between two frames of video.
pub const FRAME: Duration = Duration::from_nanos(33_333_333);

/// Between two packets of Opus.
const SOUND: Duration = Duration::from_millis(20);

/// Between two looks of the viewers at what has come.
const LOOK: Duration = Duration::from_millis(33);

/// How much a publisher sends.
#[derive(Debug, Clone, Copy)]
pub struct Encoding {
    /// Packets of a keyframe.
    pub key: usize,
    /// Packets of any other frame.
    pub delta: usize,
    /// Payload bytes of each.
    pub len: usize,
}

impl Encoding {
    /// 2.2 Mbit/s, and keyframes of 44 KB.
    pub const USUAL: Self = Self {
        key: 40,
        delta: 8,
        len: 1100,
    };
}

/// See the module.
#[derive(Debug)]
pub struct Stage {
    /// Server, clients, network.
    pub world: World<Field>,
    /// All that was published.
    pub films: Films,
    /// Who publishes, or did.
    pub publishers: Vec<Publisher>,
    /// Who watches, or did.
    pub viewers: Vec<Viewer>,
    next_look: Instant,
    /// How many links have been laid.
    laid: u64,
}

/// A client that publishes.
#[derive(Debug)]
pub struct Publisher {
    /// The client, while it is there.
    pub id: Option<ClientId>,
    /// The number of its path.
    pub path: usize,
    /// Requests for keyframes that reached it.
    pub requests: Vec<Instant>,
    video: Option<(Source, Encoding)>,
    audio: Option<Source>,
    next_video: Instant,
    next_audio: Instant,
    key_next: bool,
}

/// A client that watches.
#[derive(Debug)]
pub struct Viewer {
    /// The client, while it is there.
    pub id: Option<ClientId>,
    /// The number of its path.
    pub path: usize,
    /// What it offered to play.
    pub codecs: Vec<Codec>,
    /// The address that it first had.
    pub address: SocketAddr,
    /// The video as it is delivered.
    pub video: Reel,
    /// The sound.
    pub audio: Reel,
    /// What can be shown of the video.
    pub player: Player,
    /// The SSRC of the video, and that of its repairs.
    pub ssrcs: (Option<u32>, Option<u32>),
}

/// A path's name.
#[must_use]
pub fn path_name(path: usize) -> String {
    format!("path-{path}")
}

impl Stage {
    /// A server, and nobody there yet.
    ///
    /// # Panics
    ///
    /// If the server refuses the config.
    #[must_use]
    pub fn new(seed: u64, config: Config) -> Self {
        let world = World::with_link(seed, config, Field::new(seed));
        Self {
            next_look: world.now(),
            world,
            films: Films::new(),
            publishers: Vec::new(),
            viewers: Vec::new(),
            laid: 0,
        }
    }

    /// Connects a publisher that begins to publish at once. Gives its place in the list.
    ///
    /// # Panics
    ///
    /// If it does not get connected.
    pub fn publish(&mut self, path: usize, options: &Options, encoding: Encoding) -> usize {
        self.try_publish(path, options, encoding, &Profile::default())
            .expect("a publisher that is connected")
    }

    /// The same over a link that delays its handshake. `None`: the server does not take it.
    ///
    /// # Panics
    ///
    /// If it is taken and does not get connected.
    pub fn try_publish(
        &mut self,
        path: usize,
        options: &Options,
        encoding: Encoding,
        profile: &Profile,
    ) -> Option<usize> {
        let id = self.world.try_publish(&path_name(path), options).ok()?;
        if !self.connect(id, profile) {
            return None;
        }
        let now = self.world.now();
        let mut source = |kind| {
            let codec = *options.codecs.iter().find(|c| c.kind() == kind)?;
            let number = u32::try_from(self.films.len()).expect("few films");
            // As far from the roll-over as browsers begin: who hears nothing before it cannot
            // know of it (RFC 3711 §3.3.1).
            let first = fastrand::u64(..1 << 15);
            self.films.insert(number, Film::new(path, codec, first));
            Some(Source::numbered(number, codec, first, fastrand::u32(..)))
        };
        let (video, audio) = (source(MediaKind::Video), source(MediaKind::Audio));
        self.publishers.push(Publisher {
            id: Some(id),
            path,
            requests: Vec::new(),
            video: video.map(|source| (source, encoding)),
            audio,
            next_video: now,
            next_audio: now,
            key_next: true,
        });
        Some(self.publishers.len() - 1)
    }

    /// Connects a viewer. Gives its place in the list.
    ///
    /// # Panics
    ///
    /// If it does not get connected.
    pub fn view(&mut self, path: usize, options: &Options, patience: Patience) -> usize {
        self.try_view(path, options, patience, &Profile::default())
            .expect("a viewer that is connected")
    }

    /// The same over a link that delays its handshake. `None`: the server does not take it, or
    /// the path ends meanwhile.
    ///
    /// # Panics
    ///
    /// If it is taken and does not get connected.
    pub fn try_view(
        &mut self,
        path: usize,
        options: &Options,
        patience: Patience,
        profile: &Profile,
    ) -> Option<usize> {
        let id = self.world.try_view(&path_name(path), options).ok()?;
        if !self.connect(id, profile) {
            return None;
        }
        let now = self.world.now();
        let client = self.world.client(id);
        let (address, ssrcs) = (client.local(), ssrcs(client.answer()));
        self.viewers.push(Viewer {
            id: Some(id),
            path,
            codecs: options.codecs.clone(),
            address,
            video: Reel::new(path, MediaKind::Video),
            audio: Reel::new(path, MediaKind::Audio),
            player: Player::new(now, patience),
            ssrcs,
        });
        Some(self.viewers.len() - 1)
    }

    /// Plays on until a client is connected. Tells whether it is: it may have been closed.
    fn connect(&mut self, id: ClientId, profile: &Profile) -> bool {
        if *profile != Profile::default() {
            self.lay(id, profile, profile);
        }
        let end = self.world.now() + Duration::from_secs(10);
        while !self.world.client(id).is_connected() {
            let client = self.world.client(id);
            let error = client.error();
            assert!(error.is_none(), "{id:?}: {error:?}");
            if client.is_closed() {
                self.world.vanish(id);
                return false;
            }
            assert!(self.world.now() < end, "{id:?} is not connected after 10 s");
            self.play(Duration::from_millis(5));
        }
        true
    }

    /// Gives a client another link from now on.
    pub fn lay(&mut self, id: ClientId, to_server: &Profile, to_client: &Profile) {
        let client = self.world.client(id).local();
        self.laid += 1;
        let network = &mut self.world.link.network;
        network.lay(client, self.laid, to_server, to_client);
    }

    /// Publishers publish and viewers watch, for so long.
    ///
    /// # Panics
    ///
    /// If a viewer gets anything that is not as it was published.
    pub fn play(&mut self, duration: Duration) {
        let end = self.world.now() + duration;
        loop {
            let publishers = self.publishers.iter().filter_map(Publisher::next);
            let next = publishers.chain([self.next_look]).min();
            let next = next.unwrap_or(end).min(end);
            let now = self.world.now();
            if next > now {
                self.world.run(next - now);
            }
            if next >= end {
                return;
            }
            for at in 0..self.publishers.len() {
                self.film(at);
            }
            if self.next_look <= next {
                self.look();
                self.next_look = next + LOOK;
            }
        }
    }

    /// Publishes what is due of a publisher.
    fn film(&mut self, at: usize) {
        let now = self.world.now();
        let publisher = &mut self.publishers[at];
        let Some(id) = publisher.id else { return };
        let client = self.world.client(id);
        if client.is_closed() {
            publisher.next_video = now + FRAME;
            publisher.next_audio = now + FRAME;
            return;
        }
        if let Some((source, encoding)) = &mut publisher.video
            && publisher.next_video <= now
        {
            publisher.next_video += FRAME;
            let frame = match publisher.key_next {
                true => source.keyframe(encoding.key, encoding.len),
                false => source.delta(encoding.delta, encoding.len),
            };
            publisher.key_next = !client.keyframe_requests.is_empty();
            publisher.requests.append(&mut client.keyframe_requests);
            let film = self.films.get_mut(&source.number());
            film.expect("a film of every source").note(now, &frame);
            client.write(now, MediaKind::Video, &frame);
        }
        if let Some(source) = &mut publisher.audio
            && publisher.next_audio <= now
        {
            publisher.next_audio += SOUND;
            let frame = source.delta(1, 120);
            let film = self.films.get_mut(&source.number());
            film.expect("a film of every source").note(now, &frame);
            client.write(now, MediaKind::Audio, &frame);
        }
    }

    /// Has every viewer look at what has come.
    ///
    /// # Panics
    ///
    /// If anything is not as it was published.
    pub fn look(&mut self) {
        let now = self.world.now();
        for viewer in &mut self.viewers {
            let Some(id) = viewer.id else { continue };
            let client = self.world.client(id);
            assert!(client.error().is_none(), "{id:?}: {:?}", client.error());
            let films = &self.films;
            let complete =
                |reel: &mut Reel, packet: RtpPacket| match reel.deliver(films, &packet.into()) {
                    Ok(complete) => complete,
                    Err(wrong) => panic!("{}: {wrong}", viewer.address),
                };
            for packet in client.video.drain(..) {
                if let Some(name) = complete(&mut viewer.video, packet) {
                    viewer.player.on_complete(&name);
                }
            }
            for packet in client.audio.drain(..) {
                complete(&mut viewer.audio, packet);
            }
            viewer.player.advance(&self.films, &viewer.video);
            if viewer.player.asks(now, &self.films, &viewer.video) && client.is_connected() {
                client.request_keyframe(now);
            }
        }
    }
}

impl Viewer {
    /// Whether it offered to play video, or audio.
    #[must_use]
    pub fn plays(&self, kind: MediaKind) -> bool {
        self.codecs.iter().any(|codec| codec.kind() == kind)
    }
}

impl Publisher {
    /// When it has something to publish next.
    fn next(&self) -> Option<Instant> {
        self.id?;
        let video = self.video.as_ref().map(|_| self.next_video);
        let audio = self.audio.as_ref().map(|_| self.next_audio);
        video.into_iter().chain(audio).min()
    }

    /// The number of its video's source.
    #[must_use]
    pub fn video(&self) -> Option<u32> {
        self.video.as_ref().map(|(source, _)| source.number())
    }
}

/// The SSRC of the video in an answer, and that of its repairs.
fn ssrcs(answer: &str) -> (Option<u32>, Option<u32>) {
    let video = answer.split_once("m=video ").map_or("", |(_, video)| video);
    let video = video.split_once("\r\nm=").map_or(video, |(video, _)| video);
    let number = |text: &str| text.split(' ').next()?.trim().parse().ok();
    let after = |start: &str| video.lines().find_map(|line| line.strip_prefix(start));
    match after("a=ssrc-group:FID ").and_then(|pair| pair.split_once(' ')) {
        Some((main, repair)) => (number(main), number(repair)),
        None => (after("a=ssrc:").and_then(number), None),
    }
}
