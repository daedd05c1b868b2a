//! Debian's handlers of tcmu-runner, as they are, in the daemon.

#![allow(clippy::unwrap_used, clippy::cast_possible_truncation)] // A test panics to fail.

mod common;
mod initiator;
mod tcmu_handlers;

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use common::{Daemon, Folder, has_qemu, qemu_img, qemu_io, run, skip};
use initiator::{Initiator, Options, READ, WRITE, rw16};
use tcmu_handlers::{Admin, sense};

const TARGET: &str = "iqn.2026-01.test:runner";
const LIMIT: Duration = Duration::from_secs(300);

/// Whether tcmu-runner's handlers are where the daemon looks for them.
fn has_handlers(what: &str) -> bool {
    let has =
        scstu::backstore::tcmu::directories().iter().any(|place| place.join("handler_qcow.so").exists());
    if !has {
        skip(what, "no tcmu-runner");
    }
    has
}

fn conf(handler: &str, parameters: &str) -> String {
    format!(
        "HANDLER tcmu_{handler} {{\nDEVICE disk {{\n{parameters}\n}}\n}}\n\
         TARGET_DRIVER iscsi {{\nenabled 1\nTARGET {TARGET} {{\nenabled 1\nLUN 0 disk\n}}\n}}\n"
    )
}

fn start(folder: &Folder, conf: &str) -> (Daemon, Admin) {
    Admin::start(folder, conf, &[])
}

fn tool(program: &str, arguments: &[&str]) -> String {
    let outcome = run(Command::new(program).args(arguments), LIMIT);
    assert!(outcome.is_good(), "{program} {arguments:?}: {:?}\n{}", outcome.status, outcome.text);
    outcome.text
}

/// A raw image with holes.
fn image(path: &Path) {
    let mut bytes = vec![0u8; 16 << 20];
    for (number, part) in bytes.chunks_mut(48 << 10).enumerate().filter(|(number, _)| number % 3 == 0) {
        part.iter_mut().enumerate().for_each(|(at, byte)| *byte = (at / 512 * 7 + number) as u8 | 1);
    }
    fs::write(path, bytes).unwrap();
}

fn size(admin: &Admin) -> String {
    admin.good(&["get", "devices/disk/size"]).lines().next().unwrap_or("").to_owned()
}

#[test]
fn a_qcow2_image_is_a_disk() {
    if !has_handlers("handler_qcow") {
        return;
    }
    if !has_qemu() {
        return skip("handler_qcow", "no qemu-img with the iscsi driver");
    }
    let folder = Folder::new("tcmu-qcow");
    let (raw, disk) = (folder.file("raw"), folder.file("disk.qcow2"));
    let (raw, disk) = (raw.to_str().unwrap(), disk.to_str().unwrap());
    image(Path::new(raw));
    tool(&qemu_img(), &["create", "-q", "-f", "qcow2", disk, "16M"]);
    let conf = conf("qcow", &format!("cfgstring {disk}"));
    let (mut daemon, admin) = start(&folder, &conf);
    assert_eq!(size(&admin), "16777216", "the image's own");
    let known = admin.good(&["list", "handlers"]);
    assert!(known.contains("tcmu_rbd/") && known.contains("tcmu_fbo/"), "{known}");
    let maps = fs::read_to_string(format!("/proc/{}/maps", daemon.pid())).unwrap();
    assert!(maps.contains("handler_qcow.so") && !maps.contains("handler_rbd.so"), "loaded when it is needed");
    let url = daemon.url(TARGET, 0);
    tool(&qemu_img(), &["convert", "-n", "-f", "raw", "-O", "raw", raw, &url]);
    tool(&qemu_img(), &["compare", "-f", "raw", "-F", "raw", raw, &url]);
    let change = "write -P 0x33 5M 64k";
    tool(&qemu_io(), &["-f", "raw", "-c", &change.replace("write", "write -f"), "-c", "flush", &url]);
    tool(&qemu_io(), &["-f", "raw", "-c", change, raw]);
    tool(&qemu_img(), &["compare", "-f", "raw", "-F", "raw", raw, &url]);
    let other = folder.file("other.qcow2");
    fs::copy(disk, &other).unwrap();
    let cfgstring = format!("cfgstring={}", other.display());
    let words = admin.refused(&["device", "add", "x", "tcmu_qcow", &cfgstring, "size=1M"]);
    assert!(words.contains("TCMU says 1048576 but image says 16777216"), "{words}");
    assert!(daemon.stop().success());
    tool(&qemu_img(), &["check", "-q", disk]);
    tool(&qemu_img(), &["compare", "-q", raw, disk]);

    tool(&qemu_img(), &["resize", "-q", disk, "24M"]);
    let (mut daemon, admin) = start(&folder, &conf);
    assert_eq!(size(&admin), "25165824");
    tool(&qemu_io(), &["-f", "raw", "-c", "read -P 0x33 5M 64k", &daemon.url(TARGET, 0)]);
    admin.good(&["set", "devices/disk/active", "0"]);
    tool(&qemu_img(), &["resize", "-q", disk, "32M"]);
    admin.good(&["set", "devices/disk/active", "1"]);
    assert_eq!(size(&admin), "33554432", "it was opened again");
    let end = ["-f", "raw", "-c", "write -P 7 33550336 4k", "-c", "read -P 7 33550336 4k"];
    tool(&qemu_io(), &[&end[..], &[daemon.url(TARGET, 0).as_str()]].concat());
    assert!(daemon.stop().success());
    tool(&qemu_img(), &["check", "-q", disk]);
    tool(&qemu_io(), &["-r", "-c", "read -P 7 33550336 4k", "-c", "read -P 0x33 5M 64k", disk]);
}

#[test]
fn an_image_that_the_handler_would_damage_is_refused() {
    if !has_handlers("images for handler_qcow") {
        return;
    }
    if !has_qemu() {
        return skip("images for handler_qcow", "no qemu-img with the iscsi driver");
    }
    let folder = Folder::new("tcmu-images");
    let path = |name: &str| folder.file(name).to_str().unwrap().to_owned();
    let (base, over, marked, extended) = (path("base"), path("over"), path("marked"), path("extended"));
    tool(&qemu_img(), &["create", "-q", "-f", "raw", &base, "8M"]);
    tool(&qemu_io(), &["-f", "raw", "-c", "write -P 0xaa 0 8M", &base]);
    tool(&qemu_img(), &["create", "-q", "-f", "qcow2", "-b", &base, "-F", "raw", &over]);
    tool(&qemu_img(), &["create", "-q", "-f", "qcow2", &marked, "8M"]);
    tool(&qemu_img(), &["snapshot", "-c", "one", &marked]);
    tool(&qemu_img(), &["create", "-q", "-f", "qcow2", "-o", "extended_l2=on", &extended, "8M"]);
    let (mut daemon, admin) = start(&folder, "");
    for (image, words, can_be_read) in [
        (&over, "it has a backing file", true),
        (&marked, "it has snapshots", true),
        (&extended, "it has incompatible features", false),
    ] {
        let cfgstring = format!("cfgstring={image}");
        let add = ["device", "add", "x", "tcmu_qcow", &cfgstring];
        let text = admin.refused(&add);
        assert!(text.contains(words), "{text}");
        let add = [&add[..], &["read_only=1"]].concat();
        if can_be_read {
            admin.good(&add);
            admin.good(&["device", "remove", "x"]);
        } else {
            assert!(admin.refused(&add).contains(words));
        }
    }
    admin.good(&["device", "add", "over", "tcmu_qcow", &format!("cfgstring={over}"), "read_only=1"]);
    admin.good(&["target", "add", TARGET]);
    admin.good(&["lun", "map", TARGET, "0", "over"]);
    admin.good(&["target", "enable", TARGET]);
    admin.good(&["set", "targets/iscsi/enabled", "1"]);
    tool(&qemu_io(), &["-r", "-f", "raw", "-c", "read -P 0xaa 0 8M", &daemon.url(TARGET, 0)]);
    assert!(daemon.stop().success());
}

#[test]
fn an_image_is_open_once_but_to_be_read() {
    if !has_handlers("an image twice") {
        return;
    }
    let folder = Folder::new("tcmu-twice");
    let (image, other) = (folder.file("disc"), folder.file("other"));
    fs::File::create(&image).unwrap().set_len(4 << 20).unwrap();
    std::os::unix::fs::symlink(&image, &other).unwrap();
    let (mut daemon, admin) = start(&folder, &conf("fbo", &format!("cfgstring {}", image.display())));
    for (handler, path) in [("tcmu_fbo", &image), ("tcmu_fbo", &other), ("tcmu_zbc", &other)] {
        for more in ["read_only=0", "read_only=1"] {
            let cfgstring = format!("cfgstring={}", path.display());
            let text = admin.refused(&["device", "add", "two", handler, &cfgstring, more]);
            assert!(text.contains("device disk has it open"), "{text}");
        }
    }
    // What a configuration makes anew goes first.
    let anew = folder.file("anew");
    fs::write(&anew, conf("fbo", &format!("cfgstring {}\nread_only 1", image.display()))).unwrap();
    admin.good(&["apply", anew.to_str().unwrap(), "--remove"]);
    let cfgstring = format!("cfgstring=ro/{}", other.display());
    admin.good(&["device", "add", "two", "tcmu_fbo", &cfgstring, "read_only=1"]);
    let cfgstring = format!("cfgstring={}", other.display());
    let text = admin.refused(&["device", "add", "three", "tcmu_fbo", &cfgstring]);
    assert!(text.contains("has it open"), "{text}");
    admin.good(&["device", "remove", "two"]);
    admin.good(&["set", "devices/disk/active", "0"]);
    admin.good(&["device", "add", "three", "tcmu_fbo", &cfgstring]);
    let text = admin.refused(&["set", "devices/disk/active", "1"]);
    assert!(text.contains("device three has it open"), "{text}");
    admin.good(&["device", "remove", "three"]);
    admin.good(&["set", "devices/disk/active", "1"]);
    assert!(daemon.stop().success());
}

#[test]
fn rbd_without_a_cluster_is_an_error_in_words() {
    if !has_handlers("handler_rbd") {
        return;
    }
    let folder = Folder::new("tcmu-rbd");
    let empty = folder.file("ceph.conf");
    fs::write(&empty, "").unwrap();
    let socket = folder.file("socket");
    let mut daemon = Daemon::start_with(&folder.0, "", |command| {
        command.arg("--socket").arg(&socket).env("CEPH_CONF", &empty).env_remove("CEPH_ARGS");
    });
    let admin = Admin { socket };
    let add = |name: &str, what: &[&str]| [&["device", "add", name, "tcmu_rbd"], what].concat().join(" ");
    for name in ["one", "two"] {
        let words = add(name, &["cfgstring=rbd/image", "size=1M"]);
        let text = admin.refused(&words.split(' ').collect::<Vec<_>>());
        assert!(text.contains("tcmu_rbd does not open rbd/image: "), "{text}");
        assert!(text.contains("Could not connect to cluster"), "{text}");
    }
    let text = admin.refused(&add("x", &["cfgstring=rbd/image"]).split(' ').collect::<Vec<_>>());
    assert!(text.contains("size is missing"), "{text}");
    let help = admin.good(&["list", "handlers"]);
    assert!(help.contains("tcmu_rbd/"), "it stays: {help}");
    admin.good(&["device", "add", "ram", "vdisk_ram", "size=1M"]);
    assert!(daemon.stop().success());
}

fn login(daemon: &Daemon) -> Initiator {
    let mut session = Initiator::login(daemon.address, TARGET, &Options::default()).unwrap();
    let told = session.command(0, &[0; 6], 0, &[]).unwrap();
    assert_eq!(sense(&told), (6, 0x29, 0), "unit attentions are ours");
    session
}

fn rw10(opcode: u8, lba: u32, blocks: u16) -> [u8; 10] {
    let mut cdb = [0; 10];
    cdb[0] = opcode;
    cdb[2..6].copy_from_slice(&lba.to_be_bytes());
    cdb[7..9].copy_from_slice(&blocks.to_be_bytes());
    cdb
}

/// What concerns the nexus and not the medium is answered here also for a medium that takes its commands
/// itself.
fn nexus_is_ours(session: &mut Initiator) {
    let luns = session.good(0, &[0xa0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0], 256, &[]).unwrap();
    assert_eq!(luns[..16], [0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    let keys = session.good(0, &[0x5e, 0, 0, 0, 0, 0, 0, 0, 8, 0], 8, &[]).unwrap();
    assert_eq!(keys, [0; 8]);
    let unknown = session.command(0, &[0xc0, 0, 0, 0, 0, 0, 0, 0, 0, 0], 0, &[]).unwrap();
    assert_eq!(sense(&unknown), (5, 0x20, 0));
}

#[test]
fn an_optical_drive_takes_its_commands_itself() {
    if !has_handlers("handler_file_optical") {
        return;
    }
    const BLOCK: usize = 2048;
    let folder = Folder::new("tcmu-fbo");
    let file = folder.file("disc");
    let conf = conf("fbo", &format!("cfgstring {}\nsize 4194304", file.display()));
    let (mut daemon, admin) = start(&folder, &conf);
    assert!(admin.good(&["get", "devices/disk/type"]).starts_with("5 - "));
    assert!(admin.good(&["get", "devices/disk/blocksize"]).starts_with("2048"));
    let mut session = login(&daemon);
    nexus_is_ours(&mut session);
    let inquiry = session.good(0, &[0x12, 0, 0, 0, 36, 0], 36, &[]).unwrap();
    assert_eq!((inquiry[0], &inquiry[8..16]), (5, &b"LIO-ORG "[..]));
    let capacity = session.good(0, &[0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0], 8, &[]).unwrap();
    assert_eq!(capacity, [0, 0, 7, 0xff, 0, 0, 8, 0]);
    // Where nothing was written the file would end, and the handler read on for ever.
    assert_eq!(session.good(0, &rw10(0x28, 2000, 1), BLOCK, &[]).unwrap(), [0; BLOCK]);
    let data: Vec<u8> = (0..16 * BLOCK).map(|at| (at / 11) as u8).collect();
    session.good(0, &rw10(0x2a, 100, 16), 0, &data).unwrap();
    assert!(session.good(0, &rw10(0x28, 100, 16), 16 * BLOCK, &[]).unwrap() == data);
    // More than was announced: a handler would go beyond the buffer.
    for (cdb, read, write) in
        [(rw10(0x28, 0, 200), BLOCK, 0), (rw10(0x2a, 0, 200), 0, BLOCK), (rw10(0x28, 0, 1), 0, 0)]
    {
        let short = session.command(0, &cdb, read, &vec![0; write]).unwrap();
        assert_eq!(sense(&short), (5, 0x0e, 0x03));
    }
    let beyond = session.command(0, &rw10(0x28, 2048, 1), BLOCK, &[]).unwrap();
    assert_eq!(sense(&beyond), (5, 0x21, 0), "the handler's own word");
    let flush = session.good(0, &rw10(0x35, 0, 0), 0, &[]).unwrap();
    assert!(flush.is_empty());
    drop(session);
    assert!(daemon.stop().success());
    let stored = fs::read(&file).unwrap();
    assert!(stored[100 * BLOCK..116 * BLOCK] == data);

    let conf = conf_read_only(&file);
    let (mut daemon, _admin) = start(&folder, &conf);
    let mut session = login(&daemon);
    let refused = session.command(0, &rw10(0x2a, 100, 1), 0, &[0; BLOCK]).unwrap();
    assert_eq!(refused.status, 2);
    assert!(session.good(0, &rw10(0x28, 100, 16), 16 * BLOCK, &[]).unwrap() == data);
    drop(session);
    assert!(daemon.stop().success());
}

/// An optical drive of 4 MiB with a session, where file_optical is there.
fn optical(folder: &Folder, lun: &str) -> Option<(Daemon, Admin, Initiator)> {
    if !has_handlers("handler_file_optical") {
        return None;
    }
    let conf = conf("fbo", &format!("cfgstring {}\nsize 4194304", folder.file("disc").display()));
    let (daemon, admin) = start(folder, &conf.replace("LUN 0 disk", &format!("LUN 0 disk {lun}")));
    let session = login(&daemon);
    Some((daemon, admin, session))
}

#[test]
fn a_verify_without_data_compares_with_nothing() {
    let folder = Folder::new("tcmu-verify");
    let Some((mut daemon, _admin, mut session)) = optical(&folder, "") else { return };
    let verify_12 = |lba: u8, blocks: u8| [0xaf, 0, 0, 0, 0, lba, 0, 0, 0, blocks, 0, 0];
    let mut verify_16 = rw16(0x8f, 2047, 1, false);
    for cdb in [&rw10(0x2f, 0, 1)[..], &rw10(0x2f, 2000, 48), &rw10(0x2f, 5, 0), &verify_12(3, 9), &verify_16]
    {
        let answer = session.command(0, cdb, 0, &[]).unwrap();
        assert_eq!(answer.status, 0, "{cdb:?} {answer:?}");
    }
    verify_16[13] = 2;
    for cdb in [&rw10(0x2f, 2048, 1)[..], &rw10(0x2f, 2047, 2), &rw10(0x2f, 4096, 0), &verify_16] {
        assert_eq!(sense(&session.command(0, cdb, 0, &[]).unwrap()), (5, 0x21, 0), "{cdb:?}");
    }
    let unasked = session.command(0, &rw10(0x2f, 0, 1), 0, &[1; 512]).unwrap();
    assert_eq!((unasked.status, unasked.underflow), (0, 512));
    drop(session);
    assert!(daemon.stop().success());
}

#[test]
fn rfc7143_11_4_5_what_is_announced_beyond_the_cdb_is_a_residual() {
    const BLOCK: usize = 2048;
    let folder = Folder::new("tcmu-residual");
    let Some((mut daemon, _admin, mut session)) = optical(&folder, "") else { return };
    let data: Vec<u8> = (0..2 * BLOCK).map(|at| (at / 7) as u8).collect();
    let moved = |session: &mut Initiator, cdb: &[u8], read: usize, write: &[u8]| {
        let answer = session.command(0, cdb, read, write).unwrap();
        assert_eq!(answer.status, 0, "{cdb:?} {answer:?}");
        (answer.data, answer.underflow as usize)
    };
    assert_eq!(moved(&mut session, &rw10(0x2a, 8, 1), 0, &data).1, BLOCK);
    let (read, left) = moved(&mut session, &rw10(0x28, 8, 1), 3 * BLOCK, &[]);
    assert_eq!((&read[..BLOCK], left), (&data[..BLOCK], 2 * BLOCK));
    let (read, left) = moved(&mut session, &rw10(0x28, 8, 2), 2 * BLOCK, &[]);
    assert_eq!((&read[..BLOCK], left), (&data[..BLOCK], 0));
    assert_eq!(read[BLOCK..], [0; BLOCK], "what the CDB did not say is not written");
    let (_, left) = moved(&mut session, &[0xa8, 0, 0, 0, 0, 8, 0, 0, 0, 1, 0, 0], 2 * BLOCK, &[]);
    assert_eq!(left, BLOCK);
    assert_eq!(moved(&mut session, &rw10(0x28, 8, 0), BLOCK, &[]).1, BLOCK);
    assert_eq!(moved(&mut session, &rw10(0x2a, 8, 0), 0, &data).1, 2 * BLOCK);
    drop(session);
    assert!(daemon.stop().success());
}

#[test]
fn what_changes_the_unit_and_not_the_medium_is_allowed_where_it_is_read_only() {
    let folder = Folder::new("tcmu-fbo-read-only");
    let Some((mut daemon, _admin, mut session)) = optical(&folder, "{\nread_only 1\n}") else { return };
    for (cdb, write) in [
        (&[0x1e, 0, 0, 0, 1, 0][..], 0),
        (&[0x1e, 0, 0, 0, 0, 0], 0),
        (&[0x1b, 0, 0, 0, 1, 0], 0),
        (&[0x1d, 4, 0, 0, 0, 0], 0),
        (&[0x35, 0, 0, 0, 0, 0, 0, 0, 0, 0], 0),
        (&[0xbb, 0, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0], 0),
        (&[0x2b, 0, 0, 0, 0, 8, 0, 0, 0, 0], 0),
        (&[0x15, 0x10, 0, 0, 4, 0], 4),
        (&[0x55, 0x10, 0, 0, 0, 0, 0, 0, 8, 0], 8),
    ] {
        let answer = session.command(0, cdb, 0, &vec![0; write]).unwrap();
        assert!(answer.status == 0 || sense(&answer) != (7, 0x27, 0), "{cdb:?} {answer:?}");
    }
    for (cdb, write) in
        [(rw10(0x2a, 8, 1), 2048), (rw10(0x2e, 8, 1), 2048), ([0x04, 0x11, 0, 0, 0, 0, 0, 0, 0, 0], 12)]
    {
        let refused = session.command(0, &cdb, 0, &vec![0; write]).unwrap();
        assert_eq!(sense(&refused), (7, 0x27, 0), "{cdb:?}");
    }
    drop(session);
    assert!(daemon.stop().success());
}

/// As file_optical has it: `ro/` before the path.
fn conf_read_only(file: &Path) -> String {
    conf("fbo", &format!("cfgstring ro/{}", file.display()))
}

#[test]
fn a_zoned_disk_takes_its_commands_itself() {
    if !has_handlers("handler_file_zbc") {
        return;
    }
    const BLOCK: usize = 512;
    let folder = Folder::new("tcmu-zbc");
    let file = folder.file("zones");
    fs::File::create(&file).unwrap().set_len(16 << 20).unwrap();
    // Zones of 1 MiB, two of them conventional.
    let parameters =
        format!("cfgstring model-HM/lba-512/zsize-1/conv-2/open-4@{}\nsize 8388608", file.display());
    let (mut daemon, admin) = start(&folder, &conf("zbc", &parameters));
    assert!(admin.good(&["get", "devices/disk/type"]).starts_with("20 - "));
    let mut session = login(&daemon);
    nexus_is_ours(&mut session);
    let inquiry = session.good(0, &[0x12, 0, 0, 0, 96, 0], 96, &[]).unwrap();
    assert_eq!((inquiry[0], &inquiry[8..16]), (0x14, &b"LIO-ORG "[..]));
    let limits = session.good(0, &[0x12, 1, 0xb0, 0, 64, 0], 64, &[]).unwrap();
    assert_eq!(limits[1], 0xb0);
    let report = {
        let mut cdb = [0; 16];
        (cdb[0], cdb[12]) = (0x95, 2);
        session.good(0, &cdb, 512, &[]).unwrap()
    };
    assert!(u32::from_be_bytes(report[..4].try_into().unwrap()) >= 64, "{report:?}");
    let data: Vec<u8> = (0..8 * BLOCK).map(|at| (at / 3) as u8).collect();
    session.good(0, &rw16(WRITE, 64, 8, false), 0, &data).unwrap();
    assert!(session.good(0, &rw16(READ, 64, 8, false), 8 * BLOCK, &[]).unwrap() == data);
    // A sequential zone is written from its write pointer on.
    session.good(0, &rw16(WRITE, 4 * 2048, 8, false), 0, &data).unwrap();
    let jump = session.command(0, &rw16(WRITE, 4 * 2048 + 64, 8, false), 0, &data).unwrap();
    assert_eq!(sense(&jump), (5, 0x21, 0x04), "UNALIGNED WRITE COMMAND");
    session.good(0, &rw16(WRITE, 4 * 2048 + 8, 8, false), 0, &data).unwrap();
    // To open it with these options formats it: neither a check nor a plan does.
    let file_of = folder.file("scst.conf");
    let mut check = Command::new(env!("CARGO_BIN_EXE_scstud"));
    assert!(run(check.arg("--check").arg("-c").arg(&file_of), LIMIT).is_good());
    let anew = folder.file("anew");
    fs::write(&anew, conf("zbc", &format!("{parameters}\nblocksize 4096"))).unwrap();
    let plan = admin.good(&["plan", anew.to_str().unwrap(), "--remove"]);
    assert!(plan.contains("- device disk"), "{plan}");
    assert!(session.good(0, &rw16(READ, 4 * 2048 + 8, 8, false), 8 * BLOCK, &[]).unwrap() == data);
    drop(session);
    assert!(daemon.stop().success());
    // With its path alone it keeps its zones.
    let (mut daemon, _admin) =
        start(&folder, &conf("zbc", &format!("cfgstring {}\nsize 8388608", file.display())));
    let mut session = login(&daemon);
    assert!(session.good(0, &rw16(READ, 4 * 2048 + 8, 8, false), 8 * BLOCK, &[]).unwrap() == data);
    let jump = session.command(0, &rw16(WRITE, 4 * 2048 + 64, 8, false), 0, &data).unwrap();
    assert_eq!(sense(&jump), (5, 0x21, 0x04), "the write pointer was kept");
    drop(session);
    assert!(daemon.stop().success());
}
