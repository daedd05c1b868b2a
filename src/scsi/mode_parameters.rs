//! Values behind the mode pages; `page/mode.rs` has the rows that show and change them.

/// Parameters that MODE SELECT can change. Current and saved values are two of these.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ModeParameters {
    /// Caching page, WCE: the volatile write cache is in use.
    pub write_cache_enabled: bool,
    /// Control page, TST: 1 means a task set per I_T nexus.
    pub task_set_type: u8,
    /// Control page, D_SENSE: descriptor format sense data.
    pub descriptor_sense: bool,
    /// Control page, QUEUE ALGORITHM MODIFIER.
    pub queue_algorithm_modifier: u8,
    /// Control page, QERR.
    pub queue_error: u8,
    /// Control page, SWP: software write protect.
    pub software_write_protect: bool,
    /// Control page, TAS: aborted tasks of other nexuses end with TASK ABORTED.
    pub task_aborted_status: bool,
    /// Control page, TMF_ONLY.
    pub task_management_only: bool,
    /// Control page, DPICZ.
    pub disable_protection_check: bool,
}

impl ModeParameters {
    /// The saved form: a line for each value.
    pub fn to_text(&self) -> String {
        format!(
            "WCE={}\nD_SENSE={}\nQUEUE_ALG={}\nSWP={}\nTAS={}\n",
            u8::from(self.write_cache_enabled),
            u8::from(self.descriptor_sense),
            self.queue_algorithm_modifier,
            u8::from(self.software_write_protect),
            u8::from(self.task_aborted_status),
        )
    }

    /// Takes the values that `text` names; what it does not name, or not rightly, stays.
    pub fn read_text(&mut self, text: &str) {
        for (name, value) in text.lines().filter_map(|line| line.split_once('=')) {
            let is_set = value == "1";
            match name {
                "WCE" => self.write_cache_enabled = is_set,
                "D_SENSE" => self.descriptor_sense = is_set,
                "QUEUE_ALG" => self.queue_algorithm_modifier = u8::from(is_set),
                "SWP" => self.software_write_protect = is_set,
                "TAS" => self.task_aborted_status = is_set,
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn saved_values_come_back() {
        let mode = ModeParameters {
            write_cache_enabled: true,
            software_write_protect: true,
            task_set_type: 1,
            ..ModeParameters::default()
        };
        let mut other = ModeParameters { task_set_type: 1, descriptor_sense: true, ..Default::default() };
        other.read_text(&mode.to_text());
        assert_eq!(other, mode);
    }
}
