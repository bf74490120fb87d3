//! Results that are signed, and those that are not signed as they have to be.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use crate::support::{Lab, Ran, write};

const OURS: &str = "6f757273000000000000000000000000000000000000000000000000000000aa";
const THEIRS: &str = "74686569727300000000000000000000000000000000000000000000000000bb";

/// Runs `script` with these settings.
fn run(lab: &Lab, settings: &[(&str, &str)], script: &str) -> Ran {
    let mut command = lab.run_command(["-n", "it", "-i", "in.txt", "-o", "out", "--", "sh", "-c", script]);
    command.envs(settings.iter().copied()).output().unwrap().into()
}

fn signed(lab: &Lab, key: &str) -> Ran {
    run(lab, &[("VITTE_SIGNING_KEY", key)], "cp in.txt out")
}

fn lab_with_input(lab: Lab) -> Lab {
    lab.write("in.txt", "1");
    lab
}

#[test]
fn who_has_another_key_or_none_does_not_meet_the_result() {
    for lab in Lab::of_each_layout().map(lab_with_input) {
        assert_eq!(signed(&lab, OURS).expect("miss").reasons(), "first run");
        signed(&lab, OURS).expect("hit");
        let foreign = "stored result was signed with a key that is not given here";
        assert_eq!(signed(&lab, THEIRS).expect("miss").reasons(), foreign);
        signed(&lab, THEIRS).expect("hit");
        assert_eq!(run(&lab, &[], "cp in.txt out").expect("miss").reasons(), foreign);
        run(&lab, &[], "cp in.txt out").expect("hit");
        // Nobody has taken the place of anybody.
        signed(&lab, OURS).expect("hit");
        // While keys are replaced, both count.
        signed(&lab, &format!("{},{OURS}", "0".repeat(64))).expect("hit");
    }
}

#[test]
fn an_unsigned_result_is_used_only_if_the_user_says_so() {
    let lab = lab_with_input(Lab::new());
    run(&lab, &[], "cp in.txt out").expect("miss");
    let accept = [("VITTE_SIGNING_KEY", OURS), ("VITTE_CACHE_UNSIGNED", "accept")];
    run(&lab, &accept, "cp in.txt out").expect("hit");
    assert_eq!(signed(&lab, OURS).expect("miss").reasons(), "stored result is not signed");
    signed(&lab, OURS).expect("hit");
    let why = lab.command().args(["why", "it"]).output().unwrap();
    assert!(String::from_utf8(why.stdout).unwrap().contains("hit"));
}

/// Returns the files of the entries of results, each with its content.
fn entries(lab: &Lab) -> Vec<(PathBuf, Vec<u8>)> {
    let files = lab.stored_files("/entries/").into_iter();
    let read = files.map(|path| (path.clone(), fs::read(path).unwrap()));
    read.filter(|(_, content)| content.windows(7).any(|part| part == b"command")).collect()
}

#[test]
fn a_result_that_was_forged_is_named_removed_and_made_anew() {
    let lab = lab_with_input(Lab::of_files());
    signed(&lab, OURS).expect("miss");
    let [(path, right)] = &entries(&lab)[..] else { panic!("one result") };
    // As somebody does who knows the format and not the key: all checksums are right.
    let (key, mut entry) =
        cache_core::envelope::decode_entry(right, cache_core::envelope::Limits::default()).unwrap();
    entry.meta.cost_ms += 1;
    let forged =
        cache_core::envelope::encode_entry(&key, &entry, cache_core::envelope::Compression::None).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
    write(path, forged);
    let ran = signed(&lab, OURS).expect("miss");
    assert_eq!(ran.reasons(), "stored result has a wrong signature and was removed");
    let why = lab.command().args(["why", "it"]).output().unwrap();
    let why = String::from_utf8(why.stdout).unwrap();
    assert!(why.contains("wrong signature"), "{why}");
    signed(&lab, OURS).expect("hit");
}

#[test]
fn a_key_in_a_file_counts_if_nobody_else_can_reach_it() {
    let lab = lab_with_input(Lab::new());
    let file = lab.path("key");
    write(&file, format!("{OURS}\n"));
    let settings = [("VITTE_CACHE_SIGNING_KEY_FILE", file.to_str().unwrap())];
    let with_mode = |mode| {
        fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
        run(&lab, &settings, "cp in.txt out")
    };
    let open = with_mode(0o644).expect("bypass");
    assert!(open.stderr.contains("chmod 600") && !open.stderr.contains(OURS), "{}", open.stderr);
    assert_eq!(open.code, 0);
    with_mode(0o600).expect("miss");
    signed(&lab, OURS).expect("hit");
    let wrong = signed(&lab, &OURS[1..]).expect("bypass");
    assert!(wrong.stderr.contains("VITTE_SIGNING_KEY"), "{}", wrong.stderr);
    assert!(!wrong.stderr.contains(&OURS[1..]), "{}", wrong.stderr);
}
