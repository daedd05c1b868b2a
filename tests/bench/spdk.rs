//! SPDK's iSCSI target as a peer: one that never sleeps, so a command costs it what the processor does
//! meanwhile, the waiting included. Its program `iscsi_tgt` is used as it is found.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::cells::Medium;
use crate::peers::{NAME, Peer, Settings};
use crate::place::{self, Running};
use crate::session::{Session, bad};

/// MiB that it asks for.
const MEMORY: u64 = 1024;

/// Its program: the one given, or `iscsi_tgt` on the path.
pub fn program(given: Option<&Path>) -> io::Result<PathBuf> {
    let found = given.map(Path::to_path_buf).or_else(|| place::find("iscsi_tgt"));
    found.ok_or_else(|| bad("no iscsi_tgt on the path; --spdk FILE names the one to use"))
}

/// Two units and a target, in its own notation.
fn configuration(file: &Path, port: u16) -> String {
    let file = file.display();
    format!(
        r#"{{"subsystems":[{{"subsystem":"bdev","config":[
{{"method":"bdev_null_create","params":{{"name":"null","num_blocks":2097152,"block_size":512}}}},
{{"method":"bdev_aio_create","params":{{"name":"file","filename":"{file}","block_size":512}}}},
{{"method":"bdev_wait_for_examine"}}]}},
{{"subsystem":"iscsi","config":[
{{"method":"iscsi_set_options","params":{{"max_queue_depth":256,"max_sessions":1024}}}},
{{"method":"iscsi_create_portal_group","params":
{{"tag":1,"portals":[{{"host":"127.0.0.1","port":"{port}"}}]}}}},
{{"method":"iscsi_create_initiator_group","params":
{{"tag":1,"initiators":["ANY"],"netmasks":["ANY"]}}}},
{{"method":"iscsi_create_target_node","params":{{"name":"{NAME}","alias_name":"bench",
"pg_ig_maps":[{{"pg_tag":1,"ig_tag":1}}],"queue_depth":256,"disable_chap":true,
"luns":[{{"lun_id":0,"bdev_name":"null"}},{{"lun_id":1,"bdev_name":"file"}}]}}}}]}}]}}
"#
    )
}

/// Whether the kernel has enough huge pages set aside; without them ordinary memory has to do.
fn has_huge_pages() -> bool {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let value = |key: &str| -> Option<u64> {
        text.lines().find_map(|line| line.strip_prefix(key)?.split_whitespace().next()?.parse().ok())
    };
    let free = value("HugePages_Free:").unwrap_or(0) * value("Hugepagesize:").unwrap_or(0);
    free >= MEMORY << 10
}

/// Waits until it takes logins: it listens before it knows its units.
fn await_login(address: &str) -> io::Result<()> {
    let place = crate::load::place(&format!("iscsi://{address}/{NAME}/0"))?;
    let until = Instant::now() + place::START;
    loop {
        match Session::open(&place, 0) {
            Ok(session) => {
                session.close();
                return Ok(());
            }
            Err(error) if Instant::now() > until => return Err(error),
            Err(_) => std::thread::sleep(Duration::from_millis(50)),
        }
    }
}

/// Starts it, on one processor.
pub fn start(settings: &Settings<'_>) -> io::Result<Peer> {
    let program = program(settings.spdk)?;
    let port = place::free_port()?;
    let folder = settings.folder.join("spdk");
    fs::create_dir_all(&folder)?;
    let conf = folder.join("spdk.json");
    fs::write(&conf, configuration(settings.file, port))?;
    let mut command = place::command(&program, None, settings.processor);
    command.args(["-m", &format!("[{}]", settings.processor.unwrap_or("0"))]);
    command.args(["--no-pci", "-s", &MEMORY.to_string()]);
    if !has_huge_pages() {
        command.arg("--no-huge");
    }
    command.arg("-r").arg(folder.join("rpc.sock")).arg("-c").arg(conf);
    let child = Running(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?);
    let address = format!("127.0.0.1:{port}");
    await_login(&address)?;
    let unit = |lun| (Some(child.0.id()), format!("iscsi://{address}/{NAME}/{lun}"));
    let units = vec![(Medium::Null, unit(0)), (Medium::File, unit(1))];
    Peer::new("spdk", units, vec![child]).that_never_sleeps()
}
