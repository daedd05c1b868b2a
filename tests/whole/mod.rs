//! A configuration that says something of everything, and what tests do with it.
#![allow(dead_code, clippy::unwrap_used)] // Each test uses a part; a test panics to fail.

use std::sync::Arc;

use scstu::mgmt::conf::{Mode, apply_text, plan_text, save};
use scstu::model::Model;
use scstu::server::pool::Pool;

use crate::common::Folder;

pub fn model() -> Arc<Model> {
    Model::new(Arc::new(Pool::new(2)), None).unwrap()
}

pub fn saved(model: &Model) -> String {
    save::save(&model.configuration())
}

pub fn loaded(text: &str) -> Arc<Model> {
    let model = model();
    apply_text(&model, text, Mode::Merge).unwrap_or_else(|error| panic!("{error}\n{text}"));
    model
}

pub fn lines(model: &Model, text: &str, mode: Mode) -> Vec<String> {
    let plan = plan_text(model, text, mode).unwrap_or_else(|error| panic!("{error}\n{text}"));
    plan.steps.into_iter().map(|step| step.text).collect()
}

/// A file that says something of everything. `{F}` is a folder.
pub const EVERYTHING: &str = r##"# everything
setup_id 0x1234
cluster_name "a b"

HANDLER vdisk_fileio {
	DEVICE f1 {
		filename "{F}/f 1"
		nv_cache 1
		t10_dev_id "\"odd\" \\ \# \{id\}"
		threads_num 3
	}
	DEVICE f2 {
		filename {F}/f2
		blocksize 4096
		thin_provisioned 1
		rotational 0
		prod_id P
	}
}

HANDLER vdisk_blockio {
	DEVICE b1 {
		filename {F}/b1
		write_through 1
		read_only 1
	}
}

HANDLER vdisk_nullio {
	DEVICE n1
	DEVICE n2 {
		size_mb 64
		dummy 1
	}
}

HANDLER vcdrom {
	DEVICE cd0
	DEVICE cd1 {
		filename {F}/f2
	}
}

TARGET_DRIVER copy_manager {
	allow_not_connected_copy 1
	TARGET copy_manager_tgt {
		LUN 0 f1
	}
}

TARGET_DRIVER iscsi {
	enabled 1
	link_local 0
	IncomingUser "disco  sec ret{}secret"
	IncomingUser "another secret#secret"
	OutgoingUser "me othersecretpart"

	TARGET iqn.2006-10.net.vlnb:Mixed {
		IncomingUser "joe pass word with \"blanks\""
		HeaderDigest CRC32C,None
		QueuedCommands 128
		alias "an alias"
		comment "\# not a comment"
		allowed_portal 10.*
		allowed_portal !10.0.0.1
		redirect "10.0.0.9:3260 temp"
		rel_tgt_id 7
		addr_method FLAT
		enabled 1

		LUN 0 f1
		LUN 1 b1 {
			read_only 1
		}
		LUN 0x10 n1

		GROUP zz {
			LUN 0 f2
			INITIATOR iqn.1993-08.org.debian:01:*
			INITIATOR \#literal
			cpu_mask 1
		}
		GROUP aa {
			INITIATOR *
			addr_method LUN
		}
	}

	TARGET iqn.2006-10.net.vlnb:off {
		LUN 0 cd0
	}
}

DEVICE_GROUP dg1 {
	DEVICE f1
	TARGET_GROUP tg_local {
		group_id 1
		state active
		TARGET iqn.2006-10.net.vlnb:Mixed
	}
	TARGET_GROUP tg_remote {
		group_id 2
		preferred 1
		state nonoptimized
		TARGET iqn.2006-10.net.vlnb:peer {
			rel_tgt_id 2
		}
	}
}
"##;

pub fn files(folder: &Folder) {
    for (name, size) in [("f 1", 1 << 20), ("f2", 2 << 20), ("b1", 1 << 20), ("other", 3 << 20)] {
        std::fs::File::create(folder.file(name)).unwrap().set_len(size).unwrap();
    }
}

pub fn everything(folder: &Folder) -> String {
    files(folder);
    EVERYTHING
        .replace("{F}", folder.0.to_str().unwrap())
        .replace("secret#", "secret\\#")
        .replace("{}", "\\{\\}")
}
