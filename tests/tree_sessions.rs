//! What writes to the tree do to sessions that are in use.

#![allow(clippy::unwrap_used)] // A test panics to fail.

mod initiator;
mod world;

use initiator::{Initiator, Options};
use scstu::mgmt::tree::Kind;
use world::{INQUIRY, TARGET, TEST_UNIT_READY, World, attention, until};

impl World {
    /// Two RAM disks; one of them is LUN 0.
    fn new() -> World {
        let world = World::empty();
        world.write_all(&[
            ("handlers/vdisk_ram/mgmt", "add_device a size=1M"),
            ("handlers/vdisk_ram/mgmt", "add_device b size=1M"),
            ("targets/iscsi/mgmt", &format!("add_target {TARGET}")),
            ("@/luns/mgmt", "add a 0"),
            ("@/enabled", "1"),
        ]);
        world
    }
}

#[test]
fn a_session_is_a_directory_that_can_be_closed() {
    let world = World::new();
    let mut session = world.login();
    let name = session.options().name.clone();
    assert_eq!(world.sessions(), std::slice::from_ref(&name));
    let own = format!("@/sessions/{name}");
    assert_eq!(world.read(&format!("{own}/initiator_name")), format!("{name}\n"));
    assert_eq!(world.read(&format!("{own}/127.0.0.1/target_ip")), "127.0.0.1\n");
    assert_eq!(world.read(&format!("{own}/lun0/active_commands")), "0\n");
    let link = world.tree.kind(&World::path(&format!("{own}/luns"))).unwrap();
    assert_eq!(link, Kind::Link { target: "../../luns".to_owned() });
    session.good(0, &INQUIRY, 96, &[]).unwrap();
    assert_ne!(world.read(&format!("{own}/read_cmd_count")), "0\n");
    assert_eq!(world.read("@/read_cmd_count"), world.read(&format!("{own}/read_cmd_count")));
    world.write(&format!("{own}/read_cmd_count"), "0");
    assert_eq!(world.read(&format!("{own}/read_cmd_count")), "0\n");
    let busy = world.tree.write("targets/iscsi/mgmt", &format!("del_target {TARGET}"));
    assert_eq!(busy.unwrap_err().errno, libc::EBUSY);
    world.write(&format!("{own}/force_close"), "1");
    until("the session is closed", || world.sessions().is_empty());
    assert!(session.command(0, &TEST_UNIT_READY, 0, &[]).is_err());
    world.write("targets/iscsi/mgmt", &format!("del_target {TARGET}"));
}

#[test]
fn commands_across_pieces_of_4_kib_are_counted() {
    let world = World::new();
    let mut session = world.login();
    let own = format!("@/sessions/{}", session.options().name);
    let read = |session: &mut Initiator, lba: u8, blocks: u8| {
        let cdb = [0x28, 0, 0, 0, 0, lba, 0, 0, blocks, 0];
        session.good(0, &cdb, usize::from(blocks) * 512, &[]).unwrap();
    };
    let counts = || {
        let files = ["read_cmd_count", "read_unaligned_cmd_count", "write_unaligned_cmd_count"];
        files.map(|file| world.read(&format!("{own}/{file}")).trim().parse::<u32>().unwrap())
    };
    let before = counts();
    read(&mut session, 8, 16);
    session.good(0, &INQUIRY, 96, &[]).unwrap();
    assert_eq!(counts(), [before[0] + 2, 0, 0]);
    read(&mut session, 1, 8);
    read(&mut session, 8, 7);
    session.good(0, &[0x2a, 0, 0, 0, 0, 16, 0, 0, 8, 0], 0, &[1; 4096]).unwrap();
    session.good(0, &[0x2a, 0, 0, 0, 0, 17, 0, 0, 1, 0], 0, &[1; 512]).unwrap();
    assert_eq!(counts(), [before[0] + 4, 2, 1]);
    assert_eq!(world.read("@/read_unaligned_cmd_count"), "2\n");
    world.write(&format!("{own}/read_io_count_kb"), "0");
    assert_eq!(counts(), [0, 0, 1], "the figures of one direction go together");
}

#[test]
fn the_memory_for_data_is_shown_as_it_is() {
    let world = World::new();
    let mut session = world.login();
    let line = || {
        let text = world.read("sgv/sgv/stats");
        let line = text.lines().find(|line| line.starts_with("  sgv-64K ")).unwrap();
        line.split_whitespace().skip(1).map(str::to_owned).collect::<Vec<_>>()
    };
    world.write("sgv/sgv/stats", "reset");
    assert_eq!(line()[..2], ["0", "0"]);
    for _ in 0..3 {
        session.good(0, &[0x28, 0, 0, 0, 0, 0, 0, 0, 128, 0], 65536, &[]).unwrap();
        // The answer is here before its memory is given back.
        until("one buffer of 16 pages, which waits", || line()[3] == "16/16/1");
    }
    let own = line();
    let [hits, total] = [&own[0], &own[1]].map(|text| text.parse::<u32>().unwrap());
    assert!(total == 3 && (2..=3).contains(&hits), "{own:?}");
    let text = world.read("sgv/global_stats");
    assert!(text.starts_with("Inactive/active pages") && text.contains("131072/131072\n"), "{text}");
    world.write("sgv/global_stats", "0");
    assert_eq!(line()[..2], ["0", "0"]);
    // Held back with its data, a write keeps its buffer.
    world.write("devices/a/block", "11");
    let tag = session.start(0, &[0x2a, 0, 0, 0, 0, 0, 0, 0, 128, 0], 0, &[1; 65536]).unwrap();
    until("the write has its buffer", || line()[3] == "16/0/1");
    world.write("devices/a/block", "0");
    assert_eq!(session.wait(tag).unwrap().status, 0);
}

#[test]
fn suspended_logins_come_again_later() {
    let world = World::new();
    let mut session = world.login();
    world.write("targets/iscsi/suspend_logins", "1");
    let error = Initiator::login(world.address, TARGET, &Options::default()).err().unwrap().to_string();
    assert!(error.ends_with("03, 01, 00, 00]"), "Service unavailable: {error}");
    session.good(0, &TEST_UNIT_READY, 0, &[]).unwrap();
    world.write("targets/iscsi/suspend_logins", "0");
    world.login();
}

#[test]
fn times_are_measured_while_somebody_wants_them() {
    let world = World::new();
    let mut session = world.login();
    let file = format!("@/sessions/{}/latency/r512", session.options().name);
    let header = "state count min max avg stddev\n";
    session.good(0, &INQUIRY, 96, &[]).unwrap();
    assert_eq!(world.read(&file), header);
    world.write("measure_latency", "1");
    session.good(0, &INQUIRY, 96, &[]).unwrap();
    let text = world.read(&file);
    assert!(text.starts_with(&format!("{header}QUEUED 1 ")) && text.contains("\nRUNNING 1 "), "{text}");
    assert!(text.lines().skip(1).all(|line| line.ends_with(" us")), "{text}");
    world.write(&file, "0");
    assert_eq!(world.read(&file), header);
    session.good(0, &INQUIRY, 96, &[]).unwrap();
    world.write("measure_latency", "0");
    assert_eq!(world.read(&file), header, "what was measured is freed");
    session.good(0, &INQUIRY, 96, &[]).unwrap();
    assert_eq!(world.read(&file), header);
}

#[test]
fn initiators_learn_what_changes_and_nothing_else() {
    let world = World::new();
    let mut session = world.login();
    world.write("@/luns/mgmt", "add b 1");
    assert_eq!(attention(&mut session, 0), Some((0x3f, 0x0e)), "a LUN has come");
    assert_eq!(attention(&mut session, 0), None);
    session.good(1, &TEST_UNIT_READY, 0, &[]).unwrap();
    world.write("@/luns/mgmt", "replace a 1");
    assert_eq!(attention(&mut session, 1), Some((0x3f, 0x03)), "it is another");
    assert_eq!(attention(&mut session, 1), None);
    assert_eq!(attention(&mut session, 0), None, "the others are the same");
    world.write("@/luns/mgmt", "replace_no_ua b 1");
    assert_eq!(attention(&mut session, 1), None, "nobody is told");
    world.write("@/luns/mgmt", "replace b 1 read_only=1");
    assert_eq!(attention(&mut session, 1), Some((0x3f, 0x03)));
    world.write("devices/a/size_mb", "2");
    assert_eq!(attention(&mut session, 0), Some((0x2a, 0x09)), "it has another size");
    world.write("devices/a/prod_id", "other");
    assert_eq!(attention(&mut session, 0), Some((0x3f, 0x03)), "it has another name");
    world.write("@/luns/mgmt", "del 1");
    assert_eq!(attention(&mut session, 0), Some((0x3f, 0x0e)), "a LUN has gone");
    world.write("@/comment", "nothing that an initiator sees");
    assert_eq!(attention(&mut session, 0), None);
}

#[test]
fn a_session_moves_when_its_group_does() {
    let world = World::new();
    let mut session = world.login();
    let name = session.options().name.clone();
    world.write("@/ini_groups/mgmt", "create hosts");
    world.write("@/ini_groups/hosts/luns/mgmt", "add b 0");
    world.write("@/ini_groups/hosts/initiators/mgmt", &format!("add {name}"));
    let link = world.tree.kind(&World::path(&format!("@/sessions/{name}/luns"))).unwrap();
    assert_eq!(link, Kind::Link { target: "../../ini_groups/hosts/luns".to_owned() });
    let mut told = [attention(&mut session, 0), attention(&mut session, 0)];
    told.sort_unstable();
    assert_eq!(told, [Some((0x3f, 0x03)), Some((0x3f, 0x0e))]);
    assert_eq!(attention(&mut session, 0), None);
    let data = session.good(0, &INQUIRY, 96, &[]).unwrap();
    assert_eq!(&data[16..18], b"b ");
    let busy = world.tree.write(&World::path("@/ini_groups/mgmt"), "del hosts");
    assert_eq!(busy.unwrap_err().errno, libc::EBUSY);
    world.write("@/ini_groups/hosts/initiators/mgmt", "clear");
    world.write("@/ini_groups/mgmt", "del hosts");
}

#[test]
fn commands_are_held_back_until_they_are_let_go() {
    let world = World::new();
    let mut session = world.login();
    for (path, on, off) in [("devices/a/block", "1", "0"), ("suspend", "5", "-1")] {
        world.write(path, on);
        let tag = session.start(0, &[0x28, 0, 0, 0, 0, 0, 0, 0, 1, 0], 512, &[]).unwrap();
        session.nop().unwrap();
        assert!(session.answer(tag).is_none(), "{path}: the command waits");
        assert!(world.read(path).starts_with('1'));
        world.write(path, off);
        assert_eq!(session.wait(tag).unwrap().status, 0, "{path}: and is done");
        assert!(world.read(path).starts_with('0'));
    }
}

#[test]
fn a_black_hole_answers_nothing_and_a_smaller_window_is_kept() {
    let world = World::new();
    let mut session = world.login();
    world.write("@/black_hole", "3");
    let tag = session.start(0, &[0x28, 0, 0, 0, 0, 0, 0, 0, 1, 0], 512, &[]).unwrap();
    session.good(0, &TEST_UNIT_READY, 0, &[]).unwrap();
    assert!(session.answer(tag).is_none());
    world.write("@/black_hole", "0");
    session.good(0, &[0x28, 0, 0, 0, 0, 0, 0, 0, 1, 0], 512, &[]).unwrap();
    let before = session.window();
    world.write("@/QueuedCommands", "4");
    for _ in 0..before {
        session.good(0, &TEST_UNIT_READY, 0, &[]).unwrap();
    }
    assert_eq!(session.window(), 4);
    world.write("@/QueuedCommands", ":default:");
    session.good(0, &TEST_UNIT_READY, 0, &[]).unwrap();
    assert_eq!(session.window(), before);
}

#[test]
fn a_disabled_target_keeps_its_sessions_and_takes_none() {
    let world = World::new();
    let mut session = world.login();
    world.write("@/enabled", "0");
    session.good(0, &TEST_UNIT_READY, 0, &[]).unwrap();
    assert!(Initiator::login(world.address, TARGET, &Options::default()).is_err());
    world.write("@/enabled", "1");
    world.login();
    world.write("@/luns/mgmt", "clear");
    assert!(Initiator::login(world.address, TARGET, &Options::default()).is_err(), "without LUNs");
}
