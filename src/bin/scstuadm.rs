//! The admin tool: checks configuration files and explains attributes.

use std::process::ExitCode;

use scstu::backstore::registry::HANDLERS;
use scstu::mgmt::conf::apply;
use scstu::model::device::ATTRIBUTES;
use scstu::model::key_attributes;

const HELP: &str = "\
Usage: scstuadm COMMAND
  check FILE   read an scst.conf and say what is wrong with it
  help KIND    explain attributes: devices, targets, handlers
  --version    the version
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["check", file] => check(file),
        ["help", "devices"] => {
            for row in ATTRIBUTES {
                let default = if row.default.is_empty() { "none" } else { row.default };
                println!("{:22} {} (default {default}): {}", row.name, row.kind, row.help);
            }
            ExitCode::SUCCESS
        }
        ["help", "targets"] => {
            for key in key_attributes() {
                let (min, max) = key.range;
                println!("{:26} {min} to {max} (default {}): {}", key.name, key.format(key.offer), key.help);
            }
            ExitCode::SUCCESS
        }
        ["help", "handlers"] => {
            for handler in HANDLERS {
                println!(
                    "{:16} {}; parameters: {}",
                    handler.name,
                    handler.help,
                    handler.parameters.join(", ")
                );
            }
            ExitCode::SUCCESS
        }
        ["--version"] => {
            println!("scstuadm {}", env!("CARGO_PKG_VERSION"));
            ExitCode::SUCCESS
        }
        _ => {
            eprint!("{HELP}");
            ExitCode::from(1)
        }
    }
}

fn check(file: &str) -> ExitCode {
    let text = match std::fs::read_to_string(file) {
        Ok(text) => text,
        Err(error) => {
            eprintln!("{file}: {error}");
            return ExitCode::from(2);
        }
    };
    match apply::plan(&text) {
        Ok(steps) => {
            println!("{file}: {} changes", steps.len());
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{file}:{error}");
            ExitCode::from(2)
        }
    }
}
