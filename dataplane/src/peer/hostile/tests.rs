//! Offers of other stacks, and variations of them. The first line of each file contains the expected result for each
//! m-line: a direction with the rids of the track's layers, or 0.

use std::path::Path;

use super::{Report, offer};

fn corpus() -> Vec<(String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus/sdp");
    let files = std::fs::read_dir(folder).unwrap();
    let row = |file: std::io::Result<std::fs::DirEntry>| {
        let file = file.unwrap();
        let name = file.file_name().into_string().unwrap();
        (name, std::fs::read_to_string(file.path()).unwrap())
    };
    let mut rows: Vec<_> = files.map(row).collect();
    rows.sort();
    rows
}

/// The result for each m-line, in the notation of the corpus.
fn outcome(report: &Report, sdp: &str) -> Vec<String> {
    let offered = super::sections(sdp);
    let mids = super::mids(&offered[1..]);
    let line = |(line, mid): (&String, &String)| {
        let mut tracks = report.tracks.iter();
        let (_, rids) = match tracks.find(|(track, _)| track == mid) {
            Some(track) => track,
            None => return line.clone(),
        };
        match rids.is_empty() {
            true => line.clone(),
            false => format!("{line}:{}", rids.join(",")),
        }
    };
    report.lines.iter().zip(&mids).map(line).collect()
}

#[test]
fn offers_of_other_stacks_are_answered_line_by_line_and_what_is_announced_can_play() {
    let rows = corpus();
    let (mut offered, mut answered, mut tracks, mut silent, mut wrong) = (0, 0, 0, 0, Vec::new());
    for (name, sdp) in &rows {
        let expected = sdp.lines().next().unwrap().trim_start_matches("# ");
        let expected: Vec<&str> = expected.split(' ').collect();
        offered += expected.len();
        match offer(sdp) {
            Ok(report) => {
                answered += report.lines.len();
                tracks += report.tracks.len();
                let outcome = outcome(&report, sdp);
                let sending = outcome.iter().filter(|line| line.starts_with("recvonly"));
                let sending = sending.count();
                silent += report.tracks.len().saturating_sub(sending);
                let is_known = sending == report.tracks.len();
                if outcome != expected || !is_known {
                    wrong.push(format!(
                        "{name}: {outcome:?}, expected {expected:?}\n{}",
                        report.answer
                    ));
                }
            }
            Err(error) => wrong.push(format!("{name}: {error}")),
        }
    }
    println!(
        "{{\"suite\":\"sdp\",\"rows\":{},\"m_lines_offered\":{offered},\"m_lines_answered\":{answered},\
         \"tracks_announced\":{tracks},\"tracks_that_cannot_play\":{silent},\"rows_wrong\":{}}}",
        rows.len(),
        wrong.len()
    );
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!((answered, silent), (offered, 0));
    assert!(rows.len() >= 40, "the corpus is there");
}

/// Each offer of the corpus with lines removed, repeated, moved, or taken from other offers; seeded.
#[test]
fn every_variation_of_the_corpus_is_answered_line_by_line_or_refused_by_name() {
    let rows = corpus();
    let mut random = fastrand::Rng::with_seed(12);
    let mut answered = 0;
    for _ in 0..VARIATIONS {
        let (_, row) = &rows[random.usize(..rows.len())];
        let (_, other) = &rows[random.usize(..rows.len())];
        let mut lines: Vec<String> = row.lines().skip(1).map(str::to_owned).collect();
        let others: Vec<&str> = other.lines().skip(1).collect();
        for _ in 0..random.usize(1..6) {
            let at = random.usize(..lines.len());
            match random.u8(..7) {
                0 => drop(lines.remove(at)),
                1 => lines.insert(at, lines[random.usize(..lines.len())].clone()),
                2 => {
                    let to = random.usize(..lines.len());
                    lines.swap(at, to);
                }
                3 => lines.insert(at, others[random.usize(..others.len())].to_owned()),
                4 => {
                    let cut = random.usize(..=lines[at].len());
                    lines[at].truncate(cut);
                }
                5 => {
                    let digit = random.digit(10);
                    lines[at] = lines[at].replace(random.digit(10), &digit.to_string());
                }
                _ => lines.extend(
                    others
                        .iter()
                        .rev()
                        .take(random.usize(..40))
                        .rev()
                        .map(|l| (*l).to_owned()),
                ),
            }
            if lines.is_empty() {
                break;
            }
        }
        match offer(&lines.join("\r\n")) {
            Ok(_) => answered += 1,
            Err(error) => assert!(!error.to_string().is_empty()),
        }
    }
    assert!(
        answered > VARIATIONS / 3,
        "{answered} of {VARIATIONS} were answered"
    );
}

const VARIATIONS: usize = 2_000;
