//! Attributes as they are when nobody has set them.

use crate::attr::Attr;
use crate::model::Configuration;
use crate::model::device_group::{self, Member, TargetGroup};
use crate::model::driver::{self, DriverObject};
use crate::model::object::Object;
use crate::model::root::{self, RootObject};
use crate::model::target::{
    CORE_ATTRIBUTES, GROUP_ATTRIBUTES, Group, ISCSI_ATTRIBUTES, TargetObject, map_rows,
};

fn read<T>(lists: &[&'static [Attr<T>]], fresh: &T, name: &str) -> Option<String> {
    let row = lists.iter().flat_map(|list| list.iter()).find(|row| row.name == name)?;
    Some((row.get)(fresh))
}

/// The value of an attribute of a new object; of devices [`Model::fresh_device`](crate::model::Model) tells.
pub fn value(now: &Configuration, object: &Object, name: &str) -> Option<String> {
    match object {
        Object::Root => read(&[root::ATTRIBUTES], &RootObject::new(now.root.default_threads), name),
        Object::Iscsi => read(&[driver::ATTRIBUTES], &DriverObject::new(), name),
        Object::CopyManager => read(&[driver::COPY_MANAGER_ATTRIBUTES], &DriverObject::new(), name),
        Object::Target(target) => {
            read(&[map_rows(), CORE_ATTRIBUTES, ISCSI_ATTRIBUTES], &TargetObject::new(target, 0), name)
        }
        Object::Group(target, group) => {
            read(&[map_rows(), GROUP_ATTRIBUTES], &Group::new(target, group), name)
        }
        Object::TargetGroup(..) => read(&[device_group::GROUP_ATTRIBUTES], &TargetGroup::default(), name),
        Object::Remote(..) => {
            let fresh = Member { is_local: false, relative_identifier: 0 };
            read(&[device_group::MEMBER_ATTRIBUTES], &fresh, name)
        }
        _ => None,
    }
}
