//! The final counters, as a driver logs them when it has stopped.

use std::collections::BTreeMap;

use kvill_tests::process::Kvill;

/// Counters that tell how often somebody had a turn and not what came of it, in any scenario: they
/// differ between two runs of one binary.
const OF_TIME: [(&str, &str); 5] = [
    (
        "datagrams",
        "clients repeat checks and reports by their clocks",
    ),
    (
        "transmits",
        "what is ready in one turn of the loop is one train",
    ),
    (
        "dropped_no_session",
        "what a client still said when its session had ended",
    ),
    ("dropped_stun", "the same, of checks"),
    (
        "keyframe_requests",
        "a keyframe that does not come at once is asked for again",
    ),
];

/// What the core has counted, by the names of its counters.
#[derive(Debug)]
pub(crate) struct Counters {
    core: BTreeMap<String, u64>,
    http_refused: u64,
}

impl Counters {
    /// Of a server that has ended.
    pub(crate) fn of(kvill: &Kvill) -> Self {
        let core = fields(&kvill.line(&[" INFO ", "core totals "]));
        assert!(core.contains_key("packets_in"), "{core:?}");
        let http = fields(&kvill.line(&[" INFO ", "HTTP totals "]));
        Self {
            core,
            http_refused: http["refused"],
        }
    }

    /// One of the core's.
    #[track_caller]
    pub(crate) fn count(&self, name: &str) -> u64 {
        let count = self.core.get(name);
        *count.unwrap_or_else(|| panic!("no {name} among {:?}", self.core))
    }

    /// Those that are not zero and have to be the same in every run: all but those of time, and
    /// what the scenario says is of time in it.
    pub(crate) fn exact(&self, of_time: &[&str]) -> String {
        let is_exact = |name: &str| {
            !OF_TIME.iter().any(|(known, _)| *known == name) && !of_time.contains(&name)
        };
        let core = self.core.iter();
        let counts = core.filter(|(name, count)| **count > 0 && is_exact(name));
        let mut counts: Vec<_> = counts.map(|(n, count)| format!("{n}={count}")).collect();
        counts.push(format!("HTTP refused={}", self.http_refused));
        counts.join(" ")
    }
}

/// The `name=value` pairs of a line whose values are numbers.
fn fields(line: &str) -> BTreeMap<String, u64> {
    line.split_whitespace()
        .filter_map(|word| word.split_once('='))
        .filter_map(|(name, value)| Some((name.to_owned(), value.parse().ok()?)))
        .collect()
}

#[test]
fn counters_are_read_from_a_line_of_the_log() {
    let line = "2026-01-01T00:00:00Z  INFO a::b: core totals datagrams=12 refused=0 by=name";
    let fields = fields(line);
    assert_eq!(fields.len(), 2);
    assert_eq!((fields["datagrams"], fields["refused"]), (12, 0));
}
