//! A handler that a Rust program registers declares parameters and attributes: they are in the tree, in
//! scst.conf and in what scstuadm says, as those of all devices are.

#![allow(clippy::unwrap_used)] // A test panics to fail.

mod common;

use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::{Folder, run};
use scstu::attr::{Access, Attr, Kind};
use scstu::backstore::declared::{Declared, row};
use scstu::backstore::registry::Handler;
use scstu::backstore::{Backstore, BlockError, Capabilities, Geometry};
use scstu::instance::{Instance, Options};
use scstu::mgmt::conf::Mode;
use scstu::mgmt::control::Service;
use scstu::mgmt::control::local::Local;
use scstu::mgmt::control::server::Server as ControlServer;

const SPEED: Kind = Kind::Number { min: 1, max: 9 };

static ROWS: [Attr<Declared>; 3] = [
    row(0, "colour", Kind::Word(&["red", "blue"]), Access::CreateOnly, "red", "what it looks like"),
    row(1, "speed", SPEED, Access::ReadWrite, "5", "how fast it is"),
    row(2, "mood", Kind::Text(9), Access::ReadOnly, "", "how it feels"),
];

/// Remembers what it was told.
struct Store(Arc<Mutex<Vec<String>>>);

impl Backstore for Store {
    fn geometry(&self) -> Geometry {
        Geometry::plain(512, 64)
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::NONE
    }

    fn read(&self, _offset: u64, into: &mut [u8]) -> Result<(), BlockError> {
        into.fill(0);
        Ok(())
    }

    fn write(&self, _offset: u64, _from: &[u8], _durable: bool) -> Result<(), BlockError> {
        Ok(())
    }

    fn flush(&self) -> Result<(), BlockError> {
        Ok(())
    }

    fn attribute(&self, slot: usize) -> Result<String, BlockError> {
        Ok(format!("good {slot}"))
    }

    fn set_attribute(&self, slot: usize, value: &str) -> Result<(), BlockError> {
        self.0.lock().unwrap().push(format!("{slot}={value}"));
        if value == "8" { Err(BlockError::ReadOnly) } else { Ok(()) }
    }
}

fn with_handler() -> (Instance, Arc<Mutex<Vec<String>>>) {
    let instance = Instance::new(Options::default()).unwrap();
    let told = Arc::new(Mutex::new(Vec::new()));
    let own = Arc::clone(&told);
    let open = move |request: &scstu::backstore::registry::OpenRequest| {
        own.lock().unwrap().push(request.declared.join(" "));
        Ok(Some(Arc::new(Store(Arc::clone(&own))) as Arc<dyn Backstore>))
    };
    instance.register(Handler::registered("toy", "for children", open).declaring(&ROWS)).unwrap();
    (instance, told)
}

#[test]
fn rows_of_a_handler_are_rows_like_all() {
    let (instance, told) = with_handler();
    instance.add_device("toy", "one", &[("colour", "blue")]).unwrap();
    instance.set("devices/one/speed", "0x7").unwrap();
    assert_eq!(instance.set("devices/one/speed", "8").unwrap_err().errno, libc::EROFS);
    assert_eq!(*told.lock().unwrap(), ["blue 5 ", "1=7", "1=8"]);
    assert_eq!(instance.get("devices/one/speed").unwrap(), "7");
    assert_eq!(instance.get("devices/one/mood").unwrap(), "good 2");
    let described = instance.describe("devices/one/speed").unwrap();
    assert_eq!((described.kind, described.default.as_str()), (Some(SPEED), "5"));
    let saved = instance.save();
    assert!(saved.contains("colour blue") && saved.contains("speed 7") && !saved.contains("mood"), "{saved}");
    let (copy, _) = with_handler();
    copy.load(&saved, Mode::Merge).unwrap();
    assert_eq!(copy.save(), saved);
}

#[test]
fn rows_that_all_devices_have_are_refused() {
    static TAKEN: [Attr<Declared>; 1] = [row(0, "filename", Kind::Bool, Access::CreateOnly, "0", "")];
    static WRONG: [Attr<Declared>; 1] = [row(0, "speed", SPEED, Access::ReadWrite, "0", "")];
    let instance = Instance::new(Options::default()).unwrap();
    let toy = || Handler::registered("toy", "", |_| Ok(None));
    assert_eq!(instance.register(toy().declaring(&TAKEN)).unwrap_err().errno, libc::EEXIST);
    assert_eq!(instance.register(toy().declaring(&WRONG)).unwrap_err().errno, libc::EINVAL);
    instance.register(toy().declaring(&ROWS)).unwrap();
}

/// What only the daemon knows, the tool asks it for.
#[test]
fn scstuadm_explains_what_a_handler_declares() {
    let (instance, _) = with_handler();
    let folder = Folder::new("declared");
    let socket = folder.file("s");
    let local = Local::new(instance.tree().clone(), Arc::clone(instance.server()));
    let _server = ControlServer::open(&socket, Arc::new(local) as Arc<dyn Service>).unwrap();
    let tool = |words: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_scstuadm"));
        run(command.arg("--socket").arg(&socket).args(words), Duration::from_secs(60))
    };
    let help = tool(&["help", "toy"]);
    assert!(help.is_good(), "{}", help.text);
    for line in [
        "  colour (red or blue; default red; given when the device is made): what it looks like\n",
        "  speed (a number from 1 to 9; default 5; given when the device is made, or set): how fast it is\n",
        "  mood (printable text of at most 9 bytes; default \"\"; to be read): how it feels\n",
    ] {
        assert!(help.text.contains(line), "{line}: {}", help.text);
    }
    let refused = tool(&["help", "toi"]);
    assert!(!refused.is_good() && refused.text.contains("neither a command nor a kind"), "{}", refused.text);
    let refused = tool(&["device", "add", "one", "toy", "speed=10"]);
    assert!(refused.text.contains("not a number from 1 to 9"), "{}", refused.text);
    assert!(tool(&["device", "add", "one", "toy", "speed=9"]).is_good());
    assert!(tool(&["describe", "devices/one/speed"]).text.contains("how fast it is"));
}
