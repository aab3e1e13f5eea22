//! The README's table of endings has every reason for which a session ends, as it is logged.

use super::*;
use crate::stats::{Reached, Unfinished};

const README: &str = include_str!("../../../../README.md");

/// One of each kind.
fn samples() -> Vec<EndReason> {
    let from = address("10.0.0.9:1");
    let handshake = |reached| {
        EndReason::Handshake(Unfinished {
            offered: vec![address(HERE)],
            reached,
        })
    };
    vec![
        handshake(Reached::Nothing),
        handshake(Reached::Unproven { from }),
        handshake(Reached::Checks { from }),
        handshake(Reached::Ice { from }),
        handshake(Reached::Dtls { from, datagrams: 3 }),
        EndReason::GaveUp(Unfinished {
            offered: vec![address(HERE)],
            reached: Reached::Nothing,
        }),
        EndReason::Gone,
        EndReason::PeerClosed,
        EndReason::Deleted,
        EndReason::Cancelled,
        EndReason::Replaced,
        EndReason::Conflict,
        EndReason::PathEnded,
        EndReason::CodecChanged,
        EndReason::Closed,
        EndReason::ShutDown,
        EndReason::Fingerprint,
        EndReason::NoAead("AES128_CM_HMAC_SHA1_80".to_owned()),
        EndReason::NoSrtp,
        EndReason::Failed("no such thing".to_owned()),
    ]
}

/// The variants as they stand in the source.
fn variants() -> Vec<String> {
    let source = include_str!("../../stats.rs");
    let (_, body) = source.split_once("pub enum EndReason {\n").unwrap();
    let (body, _) = body.split_once("\n}\n").unwrap();
    body.lines()
        .filter_map(|line| line.strip_prefix("    "))
        .filter(|line| line.starts_with(|c: char| c.is_ascii_uppercase()))
        .map(|line| line.chars().take_while(|c| c.is_alphanumeric()).collect())
        .collect()
}

#[test]
fn every_reason_has_its_row_in_the_readme() {
    let samples = samples();
    let name_of = |reason: &EndReason| -> String {
        let debug = format!("{reason:?}");
        debug.chars().take_while(|c| c.is_alphanumeric()).collect()
    };
    let mut names: Vec<_> = samples.iter().map(name_of).collect();
    names.dedup();
    assert_eq!(names, variants(), "a reason without a sample here");

    let (_, table) = README.split_once("| the log says | what to do |").unwrap();
    let rows: Vec<_> = table
        .lines()
        .skip(2)
        .take_while(|line| line.starts_with('|'))
        .map(|line| line.trim_matches('|').split_once('|').unwrap())
        .map(|(says, to_do)| (says.trim(), to_do.trim()))
        .collect();
    for reason in &samples {
        let line = reason.to_string();
        let row = rows
            .iter()
            .find(|(says, _)| says.split('…').all(|part| line.contains(part)));
        let (_, to_do) =
            row.unwrap_or_else(|| panic!("{reason:?}: no row of the README begins: {line}"));
        assert!(to_do.len() > 3, "{reason:?}: nothing to do");
    }
    assert_eq!(rows.len(), samples.len(), "rows that no session ends by");
}
