//! handler_rbd of tcmu-runner with an image in a Ceph cluster of one node on the loopback, made for the test.

#![allow(clippy::unwrap_used, clippy::cast_possible_truncation)] // A test panics to fail.

mod common;
mod initiator;
mod tcmu_handlers;

use std::fs;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use common::{Folder, has_qemu, is_installed, qemu_img, qemu_io, run, skip};
use initiator::{Initiator, Options, READ, WRITE, rw16};
use tcmu_handlers::{Admin, sense};

const TARGET: &str = "iqn.2026-01.test:ceph";
const LIMIT: Duration = Duration::from_secs(300);
const BLOCK: usize = 512;

/// A monitor and a store in memory, without authentication.
struct Cluster {
    folder: Folder,
    conf: PathBuf,
    processes: Vec<Child>,
}

impl Cluster {
    fn start() -> Cluster {
        let folder = Folder::new("ceph");
        let place = folder.0.to_str().unwrap();
        for name in ["mon", "osd"] {
            fs::create_dir_all(folder.file(name)).unwrap();
        }
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let monitor = format!("[v2:127.0.0.1:{port}/0]");
        let uuid = || fs::read_to_string("/proc/sys/kernel/random/uuid").unwrap().trim().to_owned();
        let fsid = uuid();
        let conf = folder.file("ceph.conf");
        let text = format!(
            "[global]\nfsid = {fsid}\nmon host = {monitor}\nauth cluster required = none\n\
             auth service required = none\nauth client required = none\nosd pool default size = 1\n\
             osd pool default min size = 1\nosd crush chooseleaf type = 0\nmon allow pool size one = true\n\
             mon data avail crit = 1\nosd pool default pg autoscale mode = off\nosd objectstore = memstore\n\
             memstore device bytes = 1073741824\npublic addr = 127.0.0.1\ncluster addr = 127.0.0.1\n\
             run dir = {place}\nadmin socket = {place}/$name.$pid.asok\nlog file = {place}/$name.log\n\
             pid file = {place}/$name.pid\n[mon.a]\nmon data = {place}/mon\n[osd.0]\nosd data = {place}/osd\n"
        );
        fs::write(&conf, text).unwrap();
        let mut cluster = Cluster { folder, conf, processes: Vec::new() };
        let map = cluster.folder.file("map").to_str().unwrap().to_owned();
        let plain = |words: &[&str]| tool(words[0], &words[1..]);
        plain(&["monmaptool", "--create", "--fsid", &fsid, "--addv", "a", &monitor, &map]);
        cluster.good(&["ceph-mon", "-i", "a", "--mkfs", "--monmap", &map]);
        cluster.spawn(&["ceph-mon", "-i", "a", "-f"]);
        let osd = uuid();
        cluster.good(&["ceph", "--connect-timeout", "120", "osd", "new", &osd, "0"]);
        cluster.good(&["ceph-osd", "-i", "0", "--mkfs", "--osd-uuid", &osd]);
        cluster.spawn(&["ceph-osd", "-i", "0", "-f"]);
        cluster.good(&["ceph", "osd", "pool", "create", "rbd", "8", "8"]);
        cluster.good(&["rbd", "pool", "init", "rbd"]);
        cluster
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(words[0]);
        command.arg("-c").arg(&self.conf).args(&words[1..]);
        command.env("CEPH_CONF", &self.conf).env_remove("CEPH_ARGS");
        command
    }

    fn good(&self, words: &[&str]) -> String {
        let outcome = run(&mut self.command(words), LIMIT);
        assert!(outcome.is_good(), "{words:?}: {:?}\n{}", outcome.status, outcome.text);
        outcome.text
    }

    fn spawn(&mut self, words: &[&str]) {
        let mut command = self.command(words);
        let log = fs::File::create(self.folder.file(&format!("{}.out", words[0]))).unwrap();
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        self.processes.push(command.spawn().unwrap());
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for process in self.processes.iter_mut().rev() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

fn tool(program: &str, arguments: &[&str]) {
    let outcome = run(Command::new(program).args(arguments), LIMIT);
    assert!(outcome.is_good(), "{program} {arguments:?}: {:?}\n{}", outcome.status, outcome.text);
}

/// COMPARE AND WRITE.
fn compare_and_write(lba: u8, blocks: u8) -> [u8; 16] {
    let mut cdb = [0; 16];
    (cdb[0], cdb[9], cdb[13]) = (0x89, lba, blocks);
    cdb
}

fn compares(session: &mut Initiator) {
    session.good(0, &rw16(WRITE, 0, 8, true), 0, &[1; 8 * BLOCK]).unwrap();
    for blocks in [1u8, 8] {
        let length = usize::from(blocks) * BLOCK;
        let old = session.good(0, &rw16(READ, 0, blocks.into(), false), length, &[]).unwrap();
        let both = [old, vec![blocks + 1; length]].concat();
        session.good(0, &compare_and_write(0, blocks), 0, &both).unwrap();
        let found = session.good(0, &rw16(READ, 0, blocks.into(), false), length, &[]).unwrap();
        assert!(found == vec![blocks + 1; length]);
        let again = session.command(0, &compare_and_write(0, blocks), 0, &both).unwrap();
        assert_eq!((sense(&again), again.sense[0] & 0x80), ((0xe, 0x1d, 0), 0x80), "{blocks} blocks");
    }
}

#[test]
fn an_image_in_a_cluster_is_a_disk() {
    let what = "handler_rbd with a cluster";
    if !scstu::backstore::tcmu::directories().iter().any(|place| place.join("handler_rbd.so").exists()) {
        return skip(what, "no tcmu-runner");
    }
    if let Some(missing) =
        ["ceph-mon", "ceph-osd", "ceph", "rbd", "monmaptool"].iter().find(|p| !is_installed(p))
    {
        return skip(what, &format!("no {missing} (ceph-mon, ceph-osd, ceph-common)"));
    }
    if !has_qemu() {
        return skip(what, "no qemu-img with the iscsi driver");
    }
    let cluster = Cluster::start();
    cluster.good(&["rbd", "create", "--size", "32M", "image"]);
    let folder = Folder::new("tcmu-ceph");
    let conf = format!(
        "HANDLER tcmu_rbd {{\nDEVICE disk {{\n\
         cfgstring \"rbd/image;conf={};osd_op_timeout=60\"\nsize 32M\n}}\n}}\n\
         TARGET_DRIVER iscsi {{\nenabled 1\nTARGET {TARGET} {{\nenabled 1\nLUN 0 disk\n}}\n}}\n",
        cluster.conf.display()
    );
    let (mut daemon, admin) = Admin::start(&folder, &conf, &[]);
    let url = daemon.url(TARGET, 0);
    let (raw, exported) = (folder.file("raw"), folder.file("exported"));
    let (raw, exported) = (raw.to_str().unwrap(), exported.to_str().unwrap());
    let bytes: Vec<u8> = (0..32 << 20).map(|at: usize| (at / 512 * 5 + at / 70_000) as u8).collect();
    fs::write(raw, bytes).unwrap();
    tool(&qemu_img(), &["convert", "-n", "-f", "raw", "-O", "raw", raw, &url]);
    tool(&qemu_img(), &["compare", "-f", "raw", "-F", "raw", raw, &url]);
    let changes =
        ["-c", "write -f -P 0x33 20M 64k", "-c", "discard 8M 8M", "-c", "write -z 3M 1M", "-c", "flush"];
    tool(&qemu_io(), &[&["-f", "raw", "-d", "unmap"], &changes[..], &[&url]].concat());
    tool(&qemu_io(), &["-f", "raw", "-c", "read -P 0 8M 8M", "-c", "read -P 0 3M 1M", &url]);
    let mut session = Initiator::login(daemon.address, TARGET, &Options::default()).unwrap();
    let _ = session.command(0, &[0; 6], 0, &[]).unwrap();
    compares(&mut session);
    drop(session);
    tool(&qemu_img(), &["convert", "-f", "raw", "-O", "raw", &url, raw]);
    cluster.good(&["rbd", "resize", "--size", "48M", "image"]);
    admin.good(&["set", "devices/disk/size", "48M"]);
    assert!(admin.good(&["get", "devices/disk/size"]).starts_with("50331648"));
    tool(&qemu_io(), &["-f", "raw", "-c", "write -P 9 47M 1M", "-c", "read -P 9 47M 1M", &url]);
    tool(&qemu_img(), &["resize", "-q", "-f", "raw", raw, "48M"]);
    tool(&qemu_io(), &["-f", "raw", "-c", "write -P 9 47M 1M", raw]);
    assert!(daemon.stop().success());
    assert_eq!(cluster.good(&["rbd", "lock", "ls", "image"]), "", "it was closed");
    cluster.good(&["rbd", "export", "--no-progress", "image", exported]);
    assert!(fs::read(raw).unwrap() == fs::read(exported).unwrap(), "what was written is in the image");
}
