//! Threads and sockets around the machines: portals, connections, sessions, the worker pool.

pub mod pool;
