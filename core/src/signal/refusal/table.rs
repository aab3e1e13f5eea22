//! The README's table of refusals has every one of them, as it is.

use super::*;

const README: &str = include_str!("../../../../README.md");

/// Rows of the table that belong to requests which the host refuses by itself.
const OF_THE_HOST: [&str; 2] = ["Host", "in time"];

/// One of each kind.
fn samples() -> Vec<Refusal> {
    let (kind, path) = (MediaKind::Video, "live".to_owned());
    vec![
        Refusal::PathName("a b".to_owned()),
        Refusal::NotFound("/x".to_owned()),
        Refusal::Method {
            method: "PUT".to_owned(),
            target: "/live/whip".to_owned(),
            allow: "OPTIONS, POST",
        },
        Refusal::ContentType("text/plain".to_owned()),
        Refusal::TooLarge,
        Refusal::NotSdp("no m= line".to_owned()),
        Refusal::TooManySections(99),
        Refusal::DuplicateMid("0".to_owned()),
        Refusal::NoIceCredentials,
        Refusal::NoFingerprint,
        Refusal::Setup("holdconn".to_owned()),
        Refusal::NoBundle,
        Refusal::NoRtcpMux(kind),
        Refusal::NothingSent,
        Refusal::NothingReceived,
        Refusal::NoCodec {
            kind,
            offered: "theora".to_owned(),
        },
        Refusal::CannotDecode {
            kind,
            codec: "H265".to_owned(),
            offered: "VP8".to_owned(),
        },
        Refusal::OtherKind {
            has: MediaKind::Audio,
            wants: kind,
        },
        Refusal::NoStream(path.clone()),
        Refusal::PublisherExists(path.clone()),
        Refusal::Ended {
            role: Role::View,
            path: path.clone(),
            reason: EndReason::Gone,
        },
        Refusal::NoSession {
            role: Role::View,
            path,
        },
        Refusal::PatchType("text/plain".to_owned()),
        Refusal::PatchTooLarge,
        Refusal::NotFragment("no a= line".to_owned()),
        Refusal::HalfRestart,
        Refusal::PastRestart,
        Refusal::Precondition,
        Refusal::TooManySessions(20_000),
        Refusal::ShuttingDown,
        Refusal::NoCandidates,
        Refusal::Internal("no such thing".to_owned()),
    ]
}

/// The first word of what `Debug` prints: the variant's name.
fn name_of(refusal: &Refusal) -> String {
    let debug = format!("{refusal:?}");
    let end = debug.find(|c: char| !c.is_alphanumeric());
    debug.chars().take(end.unwrap_or(debug.len())).collect()
}

/// The variants as they stand in the source.
fn variants() -> Vec<String> {
    let source = include_str!("../refusal.rs");
    let (_, body) = source.split_once("pub(crate) enum Refusal {\n").unwrap();
    let (body, _) = body.split_once("\n}\n").unwrap();
    body.lines()
        .filter_map(|line| line.strip_prefix("    "))
        .filter(|line| line.starts_with(|c: char| c.is_ascii_uppercase()))
        .map(|line| line.chars().take_while(|c| c.is_alphanumeric()).collect())
        .collect()
}

/// The rows of the README's table: cause, status, advice.
fn rows() -> Vec<(&'static str, u16, &'static str)> {
    let (_, table) = README.split_once("| refused because | status |").unwrap();
    let lines = table.lines().skip(2);
    lines
        .take_while(|line| line.starts_with('|'))
        .map(|line| {
            let cells: Vec<_> = line
                .trim_matches('|')
                .splitn(3, '|')
                .map(str::trim)
                .collect();
            let [cause, status, advice] = cells.as_slice() else {
                panic!("three cells: {line}")
            };
            (
                *cause,
                status.parse().unwrap(),
                advice.trim_end_matches('|').trim(),
            )
        })
        .collect()
}

#[test]
fn every_refusal_has_its_row_in_the_readme_and_every_row_its_refusal() {
    let samples = samples();
    let names: Vec<_> = samples.iter().map(name_of).collect();
    assert_eq!(names, variants(), "a refusal without a sample here");

    let mut rows = rows();
    for refusal in &samples {
        let (sentence, status) = (refusal.to_string(), refusal.status().as_u16());
        let row = rows
            .iter()
            .position(|(_, of, advice)| *of == status && sentence.contains(advice));
        let row = row.unwrap_or_else(|| {
            panic!("{refusal:?}: no row of the README has {status} and words of: {sentence}")
        });
        rows.remove(row);
    }
    rows.retain(|(cause, ..)| !OF_THE_HOST.iter().any(|of| cause.contains(of)));
    assert!(rows.is_empty(), "rows that nothing is refused by: {rows:?}");
}

#[test]
fn every_refusal_says_what_was_wrong_then_what_to_do_in_one_line() {
    /// What to do begins with one of these, after a colon or in a second sentence.
    const VERBS: [&str; 11] = [
        "use ", "see ", "send ", "offer ", "give ", "start ", "stop ", "retry ", "raise ",
        "publish ", "report ",
    ];
    for refusal in samples() {
        let sentence = refusal.to_string();
        let advice = sentence.split_once([':', ',']).map(|(_, advice)| advice);
        let advice = advice.unwrap_or_else(|| panic!("no advice: {sentence}"));
        assert!(
            VERBS.iter().any(|verb| advice.contains(verb)),
            "nothing to do: {sentence}"
        );
        assert!(!sentence.contains(char::is_control), "{sentence:?}");
        assert!(sentence.len() < 400, "{sentence}");
    }
}

#[test]
fn the_status_is_one_of_an_error() {
    for refusal in samples() {
        let status = refusal.status();
        assert!(
            status.is_client_error() || status.is_server_error(),
            "{refusal:?}"
        );
        let is_ours = status == 500;
        assert_eq!(is_ours, refusal.level() == Level::ERROR, "{refusal:?}");
    }
}
