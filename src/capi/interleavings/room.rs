//! The table of commands is full.

use super::{Manner, ONE_AT_A_TIME, READ, World};
use crate::capi::commands::{SHARDS, TEST_LIMIT};

#[test]
fn a_command_without_room_is_answered_busy() {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let usual = TEST_LIMIT.replace(1);
    let world = World::new(Manner::Later);
    let most = u32::try_from(SHARDS).unwrap();
    for tag in 1..=most + 2 {
        world.starts(world.task(tag, READ))();
    }
    assert_eq!(world.fake.out.lock().unwrap().len(), SHARDS, "every place is taken");
    assert_eq!(*world.replies.busy.lock().unwrap(), [most + 1, most + 2]);
    assert_eq!(*world.replies.ended.lock().unwrap(), [most + 1, most + 2]);
    // One that ends makes room for another.
    let taken = world.fake.take(|_| true).unwrap();
    world.fake.complete(taken.token, 0, 0);
    world.starts(world.task(most + 3, READ))();
    world.starts(world.task(most + 4, READ))();
    assert_eq!(*world.replies.busy.lock().unwrap(), [most + 1, most + 2, most + 4]);
    world.completes()();
    let tags: Vec<u32> = (1..=most + 4).collect();
    world.check(&tags, 0);
    TEST_LIMIT.set(usual);
}
