//! Datagrams into a server with a publisher and a viewer, from both and from strangers.
//!
//! An input is a list of acts: noise, genuine datagrams changed, repeated and sent from elsewhere,
//! binding requests of any attributes with the right password, and RTP and RTCP of any contents
//! that the client itself has sealed, so that what reads them behind SRTP is reached.
//!
//! Nobody is sent anything who has not shown a binding request (see [`Live::drain`]). What cannot
//! be genuine ends no session and stops no media. Every datagram is counted.

use std::cell::Cell;
use std::net::SocketAddr;
use std::time::Duration;

use kvill_core::config::RepairLimits;
use kvill_core::stats::Counters;

use crate::client::{Client, KEYFRAME, Live, Sent, VIDEO};
use crate::input::Input;
use crate::message;

/// Acts of one input.
const ACTS_MAX: usize = 64;

/// No packet is longer.
const SEGMENT_LEN_MAX: u64 = 1500;

/// Whoever is silent for longer may lose its address to another session, and then its own.
const SILENCE_MAX: Duration = Duration::from_secs(4);

/// Stand for the SSRCs of the viewer's answer in RTCP of an input, in their order.
const SSRC_MARKS: [[u8; 4]; 3] = [[0xaa; 4], [0xbb; 4], [0xcc; 4]];

/// Stands for the middle of the NTP time of the last sender report that reached the viewer.
const REPORT_MARK: [u8; 4] = [0xdd; 4];

/// With a byte behind it: the sequence number so many places before the last one of video that
/// reached the viewer.
const SEQUENCE_MARK: u8 = 0xee;

struct Scene {
    live: Live,
    publisher: Client,
    viewer: Client,
    /// SSRCs of the viewer's answer.
    ssrcs: Vec<u32>,
    /// The last sequence number of video that reached the viewer.
    sequence: u16,
    /// What [`REPORT_MARK`] stands for.
    report: [u8; 4],
    /// Something in this input was genuine.
    changed: bool,
    /// How long neither has said anything by itself.
    silence: Duration,
    /// Datagrams of this input.
    arrived: u64,
}

thread_local! {
    static SCENE: Cell<Option<Scene>> = const { Cell::new(None) };
}

/// The target.
pub fn run(data: &[u8]) {
    let mut scene = SCENE.take().unwrap_or_else(Scene::new);
    scene.begin();
    let before = scene.live.counters();
    let mut input = Input::new(data);
    for _ in 0..ACTS_MAX {
        let Some(act) = input.next_byte() else { break };
        scene.act(act, &mut input);
        scene.drain();
    }
    scene.is_counted(&before);
    // Who can sign and seal may leave, have everything sent elsewhere, or claim numbers that are
    // still to come: after that, everything begins anew.
    if !scene.changed {
        assert!(scene.is_whole(), "something ended that nobody has asked to");
        assert!(scene.goes_on(), "something has stopped the media");
        SCENE.set(Some(scene));
    }
}

impl Scene {
    fn new() -> Self {
        let mut live = Live::default();
        let join = |live: &mut Live, endpoint, port| {
            let remote = ([10, 0, 0, 9], port).into();
            let mut client = Client::join(live, endpoint, remote).expect("a session");
            live.connect(&mut client);
            client
        };
        let publisher = join(&mut live, "/a/whip", 1);
        let viewer = join(&mut live, "/a/whep", 2);
        let mut scene = Self {
            ssrcs: viewer.ssrcs(),
            live,
            publisher,
            viewer,
            sequence: 0,
            report: [0; 4],
            changed: false,
            silence: Duration::ZERO,
            arrived: 0,
        };
        assert!(scene.goes_on(), "the viewer sees nothing");
        scene
    }

    /// Both show that they are there. They nominate no further: so many of these are remembered
    /// that what is repeated is known.
    fn begin(&mut self) {
        self.live.advance(Duration::from_millis(20));
        for client in [&mut self.publisher, &mut self.viewer] {
            self.live.check(client, None, &message::check(false));
        }
        self.drain();
        self.changed = false;
        self.silence = Duration::ZERO;
        self.arrived = 0;
    }

    fn act(&mut self, act: u8, input: &mut Input<'_>) {
        match act % 8 {
            0 => {
                let from = self.someone(input.byte());
                self.arrive(from, input.block());
            }
            1 => self.repeat(input),
            2 => {
                let plain = self.marked(input.block());
                let packet = self.viewer.rtcp(&plain);
                self.genuine(self.viewer.remote, &packet);
            }
            3 => {
                let packet = self.publisher.rtcp(input.block());
                self.genuine(self.publisher.remote, &packet);
            }
            4 => {
                let (payload_type, ahead) = (input.byte(), input.byte());
                let packet = self.publisher.packet(payload_type, ahead, input.block());
                self.genuine(self.publisher.remote, &packet);
            }
            5 => {
                let (whose, who) = (input.byte(), input.byte());
                let from = self.someone(who);
                self.live.proven.insert(from);
                let client = self.client(whose);
                let request = client.request(input.block());
                self.genuine(from, &request);
            }
            6 => {
                let time = Duration::from_millis(u64::from(input.number() % 5000));
                self.silence += time;
                self.changed |= self.silence >= SILENCE_MAX;
                self.live.advance(time);
            }
            _ => self.publish(),
        }
    }

    fn client(&mut self, whose: u8) -> &mut Client {
        match whose % 2 {
            0 => &mut self.viewer,
            _ => &mut self.publisher,
        }
    }

    fn someone(&self, who: u8) -> SocketAddr {
        match who {
            0..=99 => self.viewer.remote,
            100..=199 => self.publisher.remote,
            _ => ([203, 0, 113, who], 7).into(),
        }
    }

    fn arrive(&mut self, from: SocketAddr, contents: &[u8]) {
        self.arrived += 1;
        self.live.arrive(from, contents);
    }

    fn genuine(&mut self, from: SocketAddr, contents: &[u8]) {
        self.changed = true;
        self.arrive(from, contents);
    }

    /// A genuine datagram once more, changed or not.
    fn repeat(&mut self, input: &mut Input<'_>) {
        let (whose, who, which) = (input.byte(), input.byte(), input.byte());
        let from = self.someone(who);
        let said = &self.client(whose).said;
        let mut contents = said[usize::from(which) % said.len()].clone();
        let changes = input.byte() % 8;
        for _ in 0..changes {
            let place = usize::from(input.number()) % contents.len();
            contents[place] ^= input.byte();
        }
        if message::is_stun(&contents) {
            // A fingerprint that is wrong takes nothing from what is genuine.
            self.live.proven.insert(from);
        }
        self.arrive(from, &contents);
    }

    /// RTCP in which the marks have become what they stand for.
    fn marked(&self, plain: &[u8]) -> Vec<u8> {
        let mut plain = plain.to_vec();
        for word in plain.chunks_exact_mut(4) {
            let mark = SSRC_MARKS.iter().position(|mark| mark == word);
            if let Some(ssrc) = mark.and_then(|place| self.ssrcs.get(place)) {
                word.copy_from_slice(&ssrc.to_be_bytes());
            } else if *word == REPORT_MARK {
                word.copy_from_slice(&self.report);
            } else if word[0] == SEQUENCE_MARK {
                let sequence = self.sequence.wrapping_sub(u16::from(word[1]));
                word[..2].copy_from_slice(&sequence.to_be_bytes());
            }
        }
        plain
    }

    fn publish(&mut self) {
        let packet = self.publisher.packet(0x80 | VIDEO, 0, &KEYFRAME);
        self.arrive(self.publisher.remote, &packet);
    }

    fn drain(&mut self) -> Vec<Sent> {
        let mut sent = self.live.drain();
        for datagram in &mut sent {
            let is_media = datagram.is_media();
            match datagram.contents[..] {
                [_, payload_type, high, low, ..] if is_media && payload_type & 0x7f == VIDEO => {
                    self.sequence = u16::from_be_bytes([high, low]);
                }
                [_, 200, ..] if datagram.to == self.viewer.remote => {
                    let srtp = self.viewer.srtp.as_mut().expect("it is connected");
                    let report = srtp.open_rtcp(&mut datagram.contents);
                    if let Some([.., a, b, c, d, _, _]) = report.and_then(|report| report.get(..16))
                    {
                        self.report = [*a, *b, *c, *d];
                    }
                }
                _ => {}
            }
        }
        sent
    }

    /// Each datagram was of use, or is counted under one reason at most. Each packet that was asked
    /// for was sent again, within the budget, or is counted under one reason.
    fn is_counted(&self, before: &Counters) {
        let after = self.live.counters();
        assert_eq!(after.datagrams - before.datagrams, self.arrived);
        let dropped = |c: &Counters| {
            c.dropped_unknown + c.dropped_stun + c.dropped_no_session + c.dropped_media
        };
        assert!(dropped(&after) - dropped(before) <= self.arrived);

        let asked = after.nacked - before.nacked;
        let settled = |c: &Counters| {
            c.repairs
                + c.nacked_unknown
                + c.nacked_repeated
                + c.nacked_over_budget
                + c.nacked_overflowed
        };
        let is_settled = settled(&after) - settled(before) == asked;
        assert!(is_settled || !self.is_whole(), "{before:?} {after:?}");
        let burst = u64::from(RepairLimits::default().burst);
        let media = (after.packets_out - before.packets_out) * SEGMENT_LEN_MAX;
        assert!(after.repair_bytes - before.repair_bytes <= burst + media);
    }

    /// Whether a keyframe comes through.
    fn goes_on(&mut self) -> bool {
        // A viewer gets no more video at once than time has earned.
        self.live.advance(Duration::from_millis(1));
        self.publish();
        let remote = self.viewer.remote;
        let sent = self.drain();
        sent.iter().any(|sent| sent.to == remote && sent.is_media())
    }

    fn is_whole(&self) -> bool {
        let stats = self.live.server.stats();
        let path = stats.paths.first();
        stats.sessions == 2 && path.is_some_and(|path| path.live && path.viewers == 1)
    }
}
