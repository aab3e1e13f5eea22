//! A scenario, and its playing by every binary.

use std::path::Path;
use std::thread;

use kvill_tests::process::{BINARIES, Kvill};

use crate::counters::Counters;
use crate::scene::Scene;
use crate::transcript::Transcript;

/// A scenario's name, which is that of its file, and what differs from others.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scenario<'a> {
    pub(crate) name: &'a str,
    /// What the server is started with.
    pub(crate) args: &'a [&'a str],
    /// Counters that depend on time here, beside those that always do.
    pub(crate) of_time: &'a [&'a str],
}

impl Scenario<'_> {
    /// A server as it is by default, of which everything is compared.
    pub(crate) const fn new(name: &str) -> Scenario<'_> {
        Scenario {
            name,
            args: &[],
            of_time: &[],
        }
    }

    /// Plays it with all binaries at once, and compares what they leave. Their counters are given
    /// to `check`, which says what has to hold of those that are not compared.
    pub(crate) fn play(&self, act: fn(&mut Scene), check: fn(&Counters)) {
        self.play_all(|scene| {
            act(scene);
            scene.kvill.ask_to_end();
            scene.kvill.check_end();
            let counters = Counters::of(&scene.kvill);
            check(&counters);
            scene.note(&format!("counted: {}", counters.exact(self.of_time)));
        });
    }

    /// The same, of a scenario that ends the server by itself, and not in an orderly way.
    pub(crate) fn play_to_the_end(&self, act: fn(&mut Scene)) {
        self.play_all(act);
    }

    fn play_all(&self, act: impl Fn(&mut Scene) + Sync) {
        let act = &act;
        let transcripts: Vec<_> = thread::scope(|scope| {
            let play = |binary: &'static str| {
                let own = thread::Builder::new().name(format!("{} by {binary}", self.name));
                let run = move || self.play_one(binary, act);
                (binary, own.spawn_scoped(scope, run).expect("a thread"))
            };
            let running: Vec<_> = BINARIES.into_iter().map(play).collect();
            let join = |(binary, thread): (_, thread::ScopedJoinHandle<'_, _>)| {
                (binary, thread.join().ok())
            };
            running.into_iter().map(join).collect()
        });
        let failed: Vec<_> = transcripts
            .iter()
            .filter_map(|(binary, transcript)| transcript.is_none().then_some(*binary))
            .collect();
        assert!(failed.is_empty(), "{}: failed by {failed:?}", self.name);
        self.compare(&transcripts);
    }

    fn play_one(&self, binary: &str, act: impl Fn(&mut Scene)) -> Transcript {
        fastrand::seed(5);
        let mut scene = Scene {
            kvill: Kvill::of_binary(binary, self.args),
            transcript: Transcript::default(),
        };
        act(&mut scene);
        scene.transcript
    }

    fn compare(&self, transcripts: &[(&str, Option<Transcript>)]) {
        let file = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests/conformance")
            .join(self.name)
            .with_extension("txt");
        let [(first, Some(transcript)), others @ ..] = transcripts else {
            panic!("there is no binary");
        };
        for (binary, other) in others {
            let other = other.as_ref().expect("it has not failed");
            let what = format!("{} by {first} and by {binary}", self.name);
            assert_same(&what, &transcript.text, &other.text);
            assert!(transcript.long == other.long, "{what}: pages differ");
        }
        if std::env::var_os("KVILL_RENEW").is_some_and(|v| v == "1") {
            std::fs::write(&file, &transcript.text).expect("a file of this work tree");
        }
        let before = std::fs::read_to_string(&file).unwrap_or_default();
        let what = format!("{} as written down and by {first}", self.name);
        assert_same(&what, &before, &transcript.text);
    }
}

/// Shows the first line that differs, with some around it.
#[track_caller]
fn assert_same(what: &str, left: &str, right: &str) {
    if left == right {
        return;
    }
    let mut pairs = left.lines().zip(right.lines());
    let same = pairs.position(|(left, right)| left != right);
    let same = same.unwrap_or(left.lines().count().min(right.lines().count()));
    let part = |text: &str| {
        let lines = text.lines().skip(same.saturating_sub(15)).take(20);
        lines
            .map(|line| format!("    {line}\n"))
            .collect::<String>()
    };
    panic!(
        "{what} differ from line {} on (if they may: KVILL_RENEW=1):\n{}---\n{}",
        same + 1,
        part(left),
        part(right)
    );
}
