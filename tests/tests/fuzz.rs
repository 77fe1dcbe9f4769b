//! What the fuzzer found, and what it begins with: every case that is kept under `fuzz/cases`, judged as it judges them.
//! Needs no root.

use std::fs;
use std::path::Path;

use cellwall_frames::corpus::{Places, Shot};
use cellwall_tests::frames::Sender;
use cellwall_tests::fuzz::frames::{Sent, bytes, mac, node, pods, sent};
use cellwall_tests::fuzz::{compile, frames, manifests};

/// Judges every case of a target; the one that fails is the last that was named.
fn hold(target: &str, check: fn(&[u8])) {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/cases").join(target);
    let mut cases: Vec<_> = fs::read_dir(&directory)
        .unwrap_or_else(|error| panic!("{}: {error}", directory.display()))
        .map(|entry| entry.unwrap().path())
        .collect();
    cases.sort();
    assert!(!cases.is_empty(), "{} is empty", directory.display());
    for case in cases {
        println!("{}", case.display());
        check(&fs::read(&case).unwrap());
    }
}

#[test]
fn frames_that_were_kept_are_read_as_by_the_second_opinion() {
    hold("frames", frames::check);
}

#[test]
fn manifests_that_were_kept_are_refused_or_in_force_and_stay_what_they_are() {
    hold("manifests", manifests::check);
}

#[test]
fn worlds_that_were_kept_compile_to_what_the_reference_says() {
    hold("compile", compile::check);
}

#[test]
fn frames_of_the_corpus_go_into_the_bytes_that_the_fuzzer_changes_and_come_out_again() {
    let categories: [fn(&mut Places) -> Vec<Shot>; 4] =
        [Places::trains, Places::neighbours, Places::tunnels, Places::flags];
    let [own, to, other] = pods();
    let mut places = Places::new((mac(1), mac(2)), [&own, &to, &other], node());
    for category in categories {
        let shots = category(&mut places);
        for shots in shots.chunks(4) {
            let frames: Vec<Sent<'_>> = shots
                .iter()
                .zip([1, 2, 1, 2])
                .map(|(shot, receiver)| Sent {
                    sender: Sender::Pod(0),
                    receiver,
                    frame: &shot.frame[..shot.frame.len().min(255)],
                })
                .collect();
            let bytes = bytes(&frames);
            assert_eq!(sent(&bytes), frames);
            frames::check(&bytes);
        }
    }
}
