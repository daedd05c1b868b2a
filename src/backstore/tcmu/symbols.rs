//! Every function that a handler may look for, with its address here. The list keeps the linker from leaving
//! them out, and is compared with what a handler would find.

use std::ffi::{CStr, c_void};

use crate::backstore::tcmu::{data, host, message};

/// A function under its name.
pub(super) struct Symbol {
    pub(super) name: &'static CStr,
    pub(super) address: *const c_void,
}

// SAFETY: the address of a function.
unsafe impl Sync for Symbol {}

macro_rules! symbols {
    ($($module:ident::$name:ident)*) => {
        &[$(Symbol {
            name: match CStr::from_bytes_with_nul(concat!(stringify!($name), "\0").as_bytes()) {
                Ok(name) => name,
                Err(_) => c"",
            },
            address: $module::$name as *const c_void,
        }),*]
    };
}

/// All of them: those that Debian's four handlers look for, and what others may.
pub(super) static SYMBOLS: &[Symbol] = symbols! {
    data::tcmu_cdb_get_lba
    data::tcmu_cdb_get_length
    data::tcmu_cdb_get_xfer_length
    data::tcmu_cdb_to_byte
    data::tcmu_cmd_seek
    data::tcmu_iovec_compare
    data::tcmu_iovec_length
    data::tcmu_iovec_seek
    data::tcmu_iovec_zero
    data::tcmu_iovec_zeroed
    data::tcmu_memcpy_from_iovec
    data::tcmu_memcpy_into_iovec
    data::tcmu_sense_set_data
    data::tcmu_sense_set_info
    data::tcmu_sense_set_key_specific_info
    host::tcmu_byte_to_lba
    host::tcmu_cfgfs_dev_get_attr_int
    host::tcmu_cfgfs_dev_get_info_u64
    host::tcmu_cfgfs_dev_get_wwn
    host::tcmu_dev_get_block_size
    host::tcmu_dev_get_cfgstring
    host::tcmu_dev_get_max_unmap_len
    host::tcmu_dev_get_max_xfer_len
    host::tcmu_dev_get_num_lbas
    host::tcmu_dev_get_opt_unmap_gran
    host::tcmu_dev_get_opt_xcopy_rw_len
    host::tcmu_dev_get_private
    host::tcmu_dev_get_solid_state_media
    host::tcmu_dev_get_uio_name
    host::tcmu_dev_get_unmap_enabled
    host::tcmu_dev_get_unmap_gran_align
    host::tcmu_dev_get_write_cache_enabled
    host::tcmu_dev_set_block_size
    host::tcmu_dev_set_max_unmap_len
    host::tcmu_dev_set_max_xfer_len
    host::tcmu_dev_set_num_lbas
    host::tcmu_dev_set_opt_unmap_gran
    host::tcmu_dev_set_opt_xcopy_rw_len
    host::tcmu_dev_set_private
    host::tcmu_dev_set_solid_state_media
    host::tcmu_dev_set_unmap_enabled
    host::tcmu_dev_set_unmap_gran_align
    host::tcmu_dev_set_write_cache_enabled
    host::tcmu_lba_to_byte
    host::tcmu_notify_cmd_timed_out
    host::tcmu_notify_conn_lost
    host::tcmu_notify_lock_lost
    host::tcmu_set_thread_name
    host::tcmur_cmd_complete
    host::tcmur_dev_get_private
    host::tcmur_dev_set_private
    host::tcmur_register_handler
    host::tcmur_unregister_handler
    message::tcmu_crit_message
    message::tcmu_dbg_message
    message::tcmu_err_message
    message::tcmu_info_message
    message::tcmu_warn_message
};
