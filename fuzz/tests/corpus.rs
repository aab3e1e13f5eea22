//! Every target runs over its corpus.

use std::fs;
use std::path::PathBuf;

use kvill_fuzz::TARGETS;

/// What is committed of all corpora together, in bytes.
const CORPORA_LEN_MAX: usize = 300_000;

/// The files of a target, in the order of their names.
fn corpus(target: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("corpus")
        .join(target);
    let entries = fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
        .into_iter()
        .map(|path| (path.clone(), fs::read(path).unwrap()))
        .collect()
}

fn replay(target: &str) {
    let (_, run) = TARGETS.iter().find(|(name, _)| *name == target).unwrap();
    let files = corpus(target);
    assert!(files.len() >= 5, "{target}: {} files", files.len());
    for (path, data) in files {
        println!("{}", path.display());
        run(&data);
    }
    run(&[]);
}

#[test]
fn datagrams_into_a_live_server() {
    replay("datagrams");
}

#[test]
fn trickle_fragments() {
    replay("fragments");
}

#[test]
fn sdp_offers() {
    replay("offers");
}

#[test]
fn operations_behave_as_the_model_says() {
    replay("operations");
}

#[test]
fn http_requests() {
    replay("requests");
}

#[test]
fn rtcp_is_read_as_by_a_second_reader() {
    replay("rtcp");
}

#[test]
fn stun_of_one_session() {
    replay("stun");
}

#[test]
fn every_target_is_a_program_and_what_is_committed_stays_small() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fuzz_targets");
    let mut programs: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path().file_stem().unwrap().to_owned())
        .collect();
    programs.sort();
    let names: Vec<_> = TARGETS.iter().map(|(name, _)| *name).collect();
    assert_eq!(programs, names);
    let len: usize = names
        .iter()
        .flat_map(|name| corpus(name))
        .map(|(_, data)| data.len())
        .sum();
    assert!(len <= CORPORA_LEN_MAX, "{len} bytes");
}
