//! Flags of `ech rotate`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueHint};

/// Make, publish, retire and delete the ECH keys of a directory
///
/// Keys go through the states made, published, retiring and gone, which DIR/ech-keys.json holds. A
/// new key opens hellos before it is published; an old one until the record's TTL and the retry
/// window have passed. Without --once, runs until SIGINT or SIGTERM.
#[derive(Debug, Args)]
pub(crate) struct RotateArgs {
    /// The directory of the key files; it is made if it is not there
    #[arg(value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) directory: PathBuf,

    /// The name that outer hellos show; without it, that of the key that is published
    #[arg(long, value_name = "NAME", value_hint = ValueHint::Hostname)]
    pub(crate) public_name: Option<String>,

    /// How long a key is published: 90, 90s, 30m, 1h or 1d
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = time)]
    pub(crate) every: Duration,

    /// How many keys that were published before open hellos, at the least
    #[arg(long, value_name = "N", default_value_t = 2)]
    pub(crate) keep: usize,

    /// The TTL of the records that publish the keys
    #[arg(long, value_name = "TIME", default_value = "300", value_parser = time)]
    pub(crate) ttl: Duration,

    /// How long an old key opens hellos beyond the TTL
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = time)]
    pub(crate) retry_window: Duration,

    /// How long a new key waits before it is published, so that every server has loaded it
    #[arg(long, value_name = "TIME", default_value = "1m", value_parser = time)]
    pub(crate) lead: Duration,

    /// Run this in a shell to publish a key, with ECH_CONFIG_LIST (base64), ECH_TTL (seconds) and
    /// ECH_KEY_FILE in its environment. When it fails, the key that is published stays so.
    /// Without it, the ech parameter is printed
    #[arg(long, value_name = "COMMAND", value_hint = ValueHint::CommandString)]
    pub(crate) publish_command: Option<String>,

    /// Run this in a shell after keys changed, such as "systemctl reload nginx"; when it fails, no
    /// key is published
    #[arg(long, value_name = "COMMAND", value_hint = ValueHint::CommandString)]
    pub(crate) reload_command: Option<String>,

    /// Write the keys as lines for nginx (ssl_ech_file) to FILE, the published one first, before
    /// each reload
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) nginx_include: Option<PathBuf>,

    /// Do what is due now, and exit
    #[arg(long)]
    pub(crate) once: bool,

    /// Print what is due now, and change nothing
    #[arg(short = 'n', long, conflicts_with_all = ["once", "status"])]
    pub(crate) dry_run: bool,

    /// Print the keys and their states, and change nothing
    #[arg(long, conflicts_with = "once")]
    pub(crate) status: bool,

    /// Let the group of the files read private keys
    #[arg(long)]
    pub(crate) group_readable: bool,

    /// Print JSON: one document, and without --once one line for each change
    #[arg(long)]
    pub(crate) json: bool,
}

fn time(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match &text[digits.len()..] {
        "" | "s" => 1.0,
        "m" => 60.0,
        "h" => 3_600.0,
        "d" => 86_400.0,
        _ => return Err("the unit is not one of s, m, h and d".to_owned()),
    };
    let number: f64 = digits
        .parse()
        .map_err(|_| "not a time such as 90s, 30m, 1h or 1d".to_owned())?;
    match number >= 0.0 {
        true => Duration::try_from_secs_f64(number * unit).map_err(|error| error.to_string()),
        false => Err("must not be less than 0".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_a_unit_or_are_seconds() {
        for (text, ms) in [
            ("90", 90_000),
            ("0.05s", 50),
            ("30m", 1_800_000),
            ("1h", 3_600_000),
            ("2d", 172_800_000),
        ] {
            assert_eq!(time(text), Ok(Duration::from_millis(ms)), "{text}");
        }
        for text in ["", "h", "1w", "-1s", "1h30m", "nan", "inf"] {
            assert!(time(text).is_err(), "{text}");
        }
    }
}
