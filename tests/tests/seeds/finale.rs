//! How a run ends: what must hold when the networks have healed, and when everybody has left.

use std::time::{Duration, Instant};

use kvill_tests::stage::Viewer;
use str0m::media::MediaKind;

use super::scenario::{Act, Scenario, present};

/// How long it may take until everybody sees and hears, once the networks have healed.
const HEALING: Duration = Duration::from_secs(4);

/// So recent must be what everybody then sees and hears.
const RECENT: Duration = Duration::from_millis(1500);

/// Until nothing is left of anybody: longer than silence, grace and handshakes.
const EMPTYING: Duration = Duration::from_secs(70);

impl Scenario {
    /// The networks are as good as none: everybody sees and hears what is published.
    pub(super) fn heal(&mut self) {
        self.stage.world.link.network.heal();
        self.play(Duration::from_secs(2));
        // Whoever was told that it is over, and did not hear it, finds out.
        let viewers = self.stage.viewers.iter().filter_map(|v| v.id);
        let publishers = self.stage.publishers.iter().filter_map(|p| p.id);
        for id in viewers.chain(publishers).collect::<Vec<_>>() {
            self.restart(id);
        }
        self.play(Duration::from_secs(1));
        for path in 0..self.codecs.len() {
            let mut publishers = self.stage.publishers.iter();
            if !publishers.any(|p| p.path == path && p.id.is_some()) {
                self.publish(path);
            }
        }
        self.stage.world.link.network.heal();
        self.play(HEALING);
        let now = self.stage.world.now();
        for viewer in self.stage.viewers.iter().filter(|v| v.id.is_some()) {
            let films = self.stage.films.values().filter(|f| f.path == viewer.path);
            let recent = |at: Option<Instant>| at.is_some_and(|at| now - at < RECENT);
            let publishes = |kind| {
                let mut films = films.clone().filter(|f| f.kind() == kind);
                viewer.plays(kind) && films.any(|f| recent(f.shots.last().map(|s| s.at)))
            };
            if publishes(MediaKind::Video) {
                let last = viewer.player.shown.last().copied();
                if !recent(last) {
                    self.explain(viewer);
                    let ago = last.map(|at| now - at);
                    panic!("{} sees nothing since {ago:?}", viewer.address);
                }
            }
            if publishes(MediaKind::Audio) {
                let last = viewer.audio.takes().last().and_then(|(source, take)| {
                    let shots = &self.stage.films[&source].shots;
                    shots.get(take.latest() as usize).map(|s| s.at)
                });
                let ago = last.map(|at| now - at);
                assert!(
                    recent(last),
                    "{} hears nothing since {ago:?}",
                    viewer.address
                );
            }
        }
        self.check_beginnings();
    }

    /// Says what there is to say of a viewer that sees nothing.
    fn explain(&self, viewer: &Viewer) {
        let (now, world) = (self.stage.world.now(), &self.stage.world);
        let ago = |at: &Instant| now - *at;
        let requests = viewer.player.requests.iter().map(ago);
        println!("asked for keyframes {:?} ago", requests.collect::<Vec<_>>());
        for (source, take) in viewer.video.takes() {
            let (range, latest) = (take.range, take.latest());
            println!("source {source}: sequence numbers {range:?}, frames up to {latest}");
        }
        for (source, film) in &self.stage.films {
            let shots = film.shots.iter().filter(|shot| shot.key);
            let keys: Vec<_> = shots.map(|shot| ago(&shot.at)).collect();
            let (path, first, count) = (film.path, film.first_seq, film.shots.len());
            println!(
                "film {source} of path {path}: {count} frames from number {first}, keyframes \
                 {keys:?} ago"
            );
        }
        for (ssrc, stream) in world.link.observer.viewed(viewer.address) {
            let (lowest, highest) = (stream.lowest, stream.highest);
            println!("SSRC {ssrc}: sent {lowest} to {highest}");
        }
        println!("{:?}", world.server.stats());
    }

    /// What was sent first to a viewer of the first source that it got is of a keyframe.
    fn check_beginnings(&self) {
        for viewer in &self.stage.viewers {
            let observer = &self.stage.world.link.observer;
            let stream = viewer
                .ssrcs
                .0
                .and_then(|s| observer.stream(viewer.address, s));
            let (Some(stream), Some((source, take))) = (stream, viewer.video.takes().next()) else {
                continue;
            };
            let ordinal = stream.lowest.wrapping_sub(take.offset);
            let shots = &self.stage.films[&source].shots;
            let shot = shots.iter().rev().find(|s| u64::from(s.first) <= ordinal);
            let begins_with = shot.filter(|s| ordinal < u64::from(s.first) + u64::from(s.count));
            // Else it is of a source of which nothing arrived.
            if let Some(shot) = begins_with {
                assert!(shot.key, "{} begins with {shot:?}", viewer.address);
            }
        }
    }

    /// Everybody leaves, in one way or another, and nothing is left.
    pub(super) fn empty(&mut self) {
        self.returns.clear();
        for publisher in 0..self.codecs.len() {
            while self.take_publisher(publisher) {}
        }
        for (at, id) in present(&self.stage) {
            self.stage.viewers[at].id = None;
            let ways = [Act::Leave, Act::Close, Act::Vanish];
            let way = self.rng.choice(ways).expect("a choice");
            self.part(way, id);
        }
        self.stage.world.run(EMPTYING);
        let stats = self.stage.world.server.stats();
        assert_eq!(stats.sessions, 0, "{stats:?}");
        assert!(stats.paths.is_empty(), "{stats:?}");
        let deadline = self.stage.world.server.poll_timeout();
        assert_eq!(deadline, None, "nobody is there, and something falls due");
    }
}
