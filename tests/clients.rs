//! Clients that nobody here wrote, against the daemon: QEMU's tools and libiscsi's.
//!
//! They run as an ordinary user where this runs as root.

#![allow(clippy::unwrap_used)] // A test panics to fail.

mod common;

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use common::{Daemon, Folder, Outcome, has_qemu, is_installed, qemu_img, qemu_io, run, skip};

const LIMIT: Duration = Duration::from_secs(60);
const TARGET: &str = "iqn.2026-01.test:clients";
const LOCKED: &str = "iqn.2026-01.test:chap";

/// LUN 0 in memory and LUN 1 in a file, 64 MiB each; the second target asks for a password.
fn serve(folder: &Folder) -> Daemon {
    let file = folder.file("disk");
    fs::File::create(&file).unwrap().set_len(64 << 20).unwrap();
    let conf = format!(
        "HANDLER vdisk_ram {{\nDEVICE ram {{\nsize 67108864\n}}\n}}\n\
         HANDLER vdisk_fileio {{\nDEVICE file {{\nfilename {}\nthin_provisioned 1\n}}\n}}\n\
         TARGET_DRIVER iscsi {{\nenabled 1\n\
         TARGET {TARGET} {{\nenabled 1\nLUN 0 ram\nLUN 1 file\n}}\n\
         TARGET {LOCKED} {{\nenabled 1\nIncomingUser \"someone twelvesecrets\"\nLUN 0 ram\n}}\n}}\n",
        file.display()
    );
    Daemon::start_in(&folder.0, &conf)
}

/// `program` as an ordinary user, if it can be found as one.
fn client(program: &str, arguments: &[&str]) -> Outcome {
    let is_root = run(Command::new("id").arg("-u"), LIMIT).text.trim() == "0";
    let nobody = ["--reuid=65534", "--regid=65534", "--clear-groups"];
    let reachable = || {
        let mut look = Command::new("setpriv");
        look.args(nobody).args(["sh", "-c", &format!("command -v {program}")]);
        is_installed("setpriv") && run(&mut look, LIMIT).is_good()
    };
    if is_root && reachable() {
        let mut command = Command::new("setpriv");
        return run(command.args(nobody).arg(program).args(arguments), LIMIT);
    }
    run(Command::new(program).args(arguments), LIMIT)
}

fn good(program: &str, arguments: &[&str]) -> String {
    let outcome = client(program, arguments);
    assert!(outcome.is_good(), "{program} {arguments:?}: {:?}\n{}", outcome.status, outcome.text);
    outcome.text
}

/// Bytes that differ from block to block, with holes.
fn image(path: &Path) {
    let mut bytes = vec![0u8; 32 << 20];
    for (number, block) in bytes.chunks_mut(4096).enumerate().filter(|(number, _)| number % 5 != 0) {
        let seed = number as u64;
        for (at, word) in block.chunks_mut(8).enumerate() {
            word.copy_from_slice(&(seed << 32 | at as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes());
        }
    }
    fs::write(path, bytes).unwrap();
}

#[test]
fn qemu_img_writes_images_that_compare_equal() {
    if !has_qemu() {
        return skip("qemu-img", "no qemu-img with the iscsi driver (qemu-utils, qemu-block-extra)");
    }
    let folder = Folder::new("qemu-img");
    let daemon = serve(&folder);
    let (raw, qcow2) = (folder.file("raw"), folder.file("qcow2"));
    let (raw, qcow2) = (raw.to_str().unwrap(), qcow2.to_str().unwrap());
    image(Path::new(raw));
    good(&qemu_img(), &["info", raw]);
    let made = run(Command::new(qemu_img()).args(["convert", "-f", "raw", "-O", "qcow2", raw, qcow2]), LIMIT);
    assert!(made.is_good(), "{}", made.text);
    for (lun, format, file) in [(0, "raw", raw), (1, "qcow2", qcow2), (1, "raw", raw)] {
        let url = daemon.url(TARGET, lun);
        good(&qemu_img(), &["convert", "-n", "-f", format, "-O", "raw", file, &url]);
        let text = good(&qemu_img(), &["compare", "-f", format, "-F", "raw", file, &url]);
        assert!(text.contains("identical"), "{text}");
    }
}

#[test]
fn qemu_io_reads_back_its_patterns() {
    if !has_qemu() || !is_installed(&qemu_io()) {
        return skip("qemu-io", "no qemu-io with the iscsi driver (qemu-utils, qemu-block-extra)");
    }
    let folder = Folder::new("qemu-io");
    let daemon = serve(&folder);
    for lun in [0, 1] {
        let url = daemon.url(TARGET, lun);
        let steps = [
            "write -P 0x5a 0 1M",
            "write -P 0xa5 4096 512",
            "aio_write -P 0x33 2M 4M",
            "aio_flush",
            "write -f -P 0x77 8M 64k",
            "write -z 512k 64k",
            "discard 16M 1M",
            "flush",
            "read -P 0x5a 0 4096",
            "read -P 0xa5 4096 512",
            "read -P 0x33 2M 4M",
            "read -P 0x77 8M 64k",
            "read -P 0 512k 64k",
        ];
        let arguments: Vec<&str> = ["-f", "raw"]
            .into_iter()
            .chain(steps.into_iter().flat_map(|step| ["-c", step]))
            .chain([url.as_str()])
            .collect();
        let text = good(&qemu_io(), &arguments);
        assert!(!text.contains("verification failed") && !text.contains("rror"), "{text}");
    }
}

#[test]
fn the_tools_of_libiscsi_find_and_ask() {
    if !is_installed("iscsi-ls") {
        return skip("libiscsi tools", "no iscsi-ls (libiscsi-bin)");
    }
    let folder = Folder::new("libiscsi");
    let daemon = serve(&folder);
    let url = daemon.url(TARGET, 0);
    // It ends badly at the target that wants a password, after the units of the other.
    let list = client("iscsi-ls", &["-s", &format!("iscsi://{}", daemon.address)]).text;
    assert!(list.contains(TARGET) && list.contains("Lun:1"), "{list}");
    let inquiry = good("iscsi-inq", &[&url]);
    assert!(inquiry.contains("DIRECT_ACCESS"), "{inquiry}");
    good("iscsi-inq", &["-e", "1", "-c", "0x83", &url]);
    let capacity = good("iscsi-readcapacity16", &[&url]);
    assert!(capacity.contains("131071") || capacity.contains("131072"), "{capacity}");
    good("iscsi-swp", &[&url]);
    good("iscsi-swp", &["--swp", "on", &url]);
    let text = good("iscsi-swp", &[&url]);
    assert!(text.contains("SWP:1"), "{text}");
    good("iscsi-swp", &["--swp", "off", &url]);
    good("iscsi-perf", &["-t", "2", "-m", "32", "-b", "8", &url]);
}

#[test]
fn chap_lets_in_who_knows_the_secret() {
    if !is_installed("iscsi-inq") {
        return skip("CHAP with libiscsi", "no iscsi-inq (libiscsi-bin)");
    }
    let folder = Folder::new("chap");
    let daemon = serve(&folder);
    let url = |user: &str| format!("iscsi://{user}{}/{LOCKED}/0", daemon.address);
    good("iscsi-inq", &[&url("someone%twelvesecrets@")]);
    assert!(!client("iscsi-inq", &[&url("")]).is_good());
    assert!(!client("iscsi-inq", &[&url("someone%thirteensecrets@")]).is_good());
    if has_qemu() {
        good(&qemu_img(), &["info", &url("someone%twelvesecrets@")]);
    }
}

#[test]
fn sigterm_ends_the_daemon_and_what_was_written_is_there() {
    let folder = Folder::new("sigterm");
    let mut daemon = serve(&folder);
    if has_qemu() {
        let url = daemon.url(TARGET, 1);
        good(&qemu_io(), &["-f", "raw", "-c", "write -P 0x42 1M 1M", &url]);
    }
    assert!(daemon.stop().success());
    let bytes = fs::read(folder.file("disk")).unwrap();
    assert!(!has_qemu() || bytes[1 << 20..2 << 20].iter().all(|byte| *byte == 0x42));
}
