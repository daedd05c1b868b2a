//! A file that takes longer to apply than its client waits: how it ends is told afterwards (SCST 1.0.4).

#![allow(clippy::unwrap_used)] // A test panics to fail.

use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use scstu::backstore::registry::{Handler, OpenError, OpenRequest};
use scstu::instance::{Instance, Options};
use scstu::mgmt::control::local::Local;
use scstu::mgmt::control::{Files, Service};

const RESULT: &str = "last_sysfs_mgmt_res";

#[test]
fn scst_1_0_4_the_result_of_a_file_that_takes_long_can_be_read() {
    let instance = Instance::new(Options::default()).unwrap();
    // The test says how the medium opens.
    let (answer, wait) = channel::<i32>();
    let wait = Mutex::new(wait);
    let open = move |_: &OpenRequest| match wait.lock().unwrap().recv().unwrap() {
        0 => Ok(None),
        errno => Err(OpenError { errno, text: "no".to_owned() }),
    };
    instance.register(Handler::registered("slow", "", open)).unwrap();
    let (tree, server) = (instance.tree().clone(), Arc::clone(instance.server()));
    let local = Local::with_patience(tree, server, Duration::ZERO);
    let until_done = || loop {
        match local.read(RESULT) {
            Err(error) if error.errno == libc::EAGAIN => std::thread::yield_now(),
            result => return result.unwrap(),
        }
    };
    let file = "HANDLER slow {\n\tDEVICE d\n}\n";
    assert!(local.write("threads", "none").is_err());
    let before = local.read(RESULT).unwrap();
    assert_ne!(before, "0\n");
    // EAGAIN would say for ever that it goes on.
    for (errno, told) in [(libc::ENODEV, -libc::ENODEV), (libc::EAGAIN, -libc::EBUSY), (0, 0)] {
        assert_eq!(local.apply("keep", file).unwrap_err().errno, libc::EAGAIN);
        assert_eq!(local.read(RESULT).unwrap_err().errno, libc::EAGAIN, "it is under way");
        answer.send(errno).unwrap();
        assert_eq!(until_done(), format!("{told}\n"));
        assert_eq!(instance.get("devices/d/type").is_ok(), errno == 0);
    }
}
