//! The `latency` files of a session: one for each direction (none, read, write, both) and size.

use std::sync::Arc;

use crate::attr::{Attr, Kind, Saved};
use crate::model::session::SessionObject;
use crate::scsi::latency::{STATES, Spread};

macro_rules! file {
    ($name:literal $direction:literal $size:literal) => {
        Attr {
            name: $name,
            kind: Kind::Trigger,
            saved: Saved::Never,
            help: "times of such commands while measure_latency is 1; a write clears all",
            get: |session| text(session, $direction, $size),
            ..Attr::ROW
        }
    };
}

/// All of them.
pub static ATTRIBUTES: &[Attr<Arc<SessionObject>>] = &[
    file!("n512" 0 0),
    file!("n1024" 0 1),
    file!("n2048" 0 2),
    file!("n4096" 0 3),
    file!("n8192" 0 4),
    file!("n16384" 0 5),
    file!("n32768" 0 6),
    file!("n65536" 0 7),
    file!("n131072" 0 8),
    file!("n262144" 0 9),
    file!("n524288" 0 10),
    file!("r512" 1 0),
    file!("r1024" 1 1),
    file!("r2048" 1 2),
    file!("r4096" 1 3),
    file!("r8192" 1 4),
    file!("r16384" 1 5),
    file!("r32768" 1 6),
    file!("r65536" 1 7),
    file!("r131072" 1 8),
    file!("r262144" 1 9),
    file!("r524288" 1 10),
    file!("w512" 2 0),
    file!("w1024" 2 1),
    file!("w2048" 2 2),
    file!("w4096" 2 3),
    file!("w8192" 2 4),
    file!("w16384" 2 5),
    file!("w32768" 2 6),
    file!("w65536" 2 7),
    file!("w131072" 2 8),
    file!("w262144" 2 9),
    file!("w524288" 2 10),
    file!("b512" 3 0),
    file!("b1024" 3 1),
    file!("b2048" 3 2),
    file!("b4096" 3 3),
    file!("b8192" 3 4),
    file!("b16384" 3 5),
    file!("b32768" 3 6),
    file!("b65536" 3 7),
    file!("b131072" 3 8),
    file!("b262144" 3 9),
    file!("b524288" 3 10),
];

fn text(session: &SessionObject, direction: usize, size: usize) -> String {
    let mut sums = [Spread::default(); STATES.len()];
    let nexus = &session.live.nexus;
    // Others may have times measured too, whom this file does not serve.
    for itl in nexus.itls().iter().filter(|_| nexus.is_measured()) {
        let Some(measured) = itl.counters.measured() else { continue };
        let own = measured.latencies.spreads(direction, size);
        sums.iter_mut().zip(&own).for_each(|(sum, own)| sum.add(own));
    }
    let mut text = "state count min max avg stddev".to_owned();
    for (name, sum) in STATES.iter().zip(&sums).filter(|(_, sum)| sum.count > 0) {
        let (min, max, average, deviation) = (sum.min, sum.max, sum.average(), sum.deviation());
        text.push_str(&format!("\n{name} {} {min:.1} {max:.1} {average:.1} {deviation:.1} us", sum.count));
    }
    text
}

/// Forgets what was measured.
pub(super) fn clear(session: &SessionObject) {
    for itl in session.live.nexus.itls() {
        if let Some(measured) = itl.counters.measured() {
            measured.latencies.clear();
        }
    }
}
