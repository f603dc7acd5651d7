//! `-b` and `-c`: cookies from the command line and from files.

use std::io;

use echkit::http::CookieJar;

use crate::cli::curl_flags::CurlArgs;
use crate::failure::Failure;
use crate::output;
use crate::private_file;

/// The jar, where one is wanted.
pub(super) fn jar(args: &CurlArgs) -> Result<Option<CookieJar>, Failure> {
    let files: Vec<_> = args
        .cookie
        .iter()
        .filter(|text| !text.contains('='))
        .collect();
    if files.is_empty() && args.cookie_jar.is_none() {
        return Ok(None);
    }
    let mut text = String::new();
    for name in files.iter().filter(|name| !name.is_empty()) {
        match std::fs::read_to_string(name) {
            Ok(read) => {
                text.push_str(&read);
                text.push('\n');
            }
            // The first run of `-b FILE -c FILE`.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(Failure::read(format!("cannot read {name}: {error}"))),
        }
    }
    let jar = CookieJar::from_netscape(&text).map_err(|error| {
        // Not those that are given as such: they are secrets.
        let files: Vec<&str> = files.iter().map(|name| name.as_str()).collect();
        Failure::read(format!("-b {}: {error}", files.join(" -b ")))
    })?;
    if args.junk_session_cookies {
        jar.clear_session();
    }
    Ok(Some(jar))
}

/// The cookies that were given as such, as one header.
pub(super) fn given(args: &CurlArgs) -> Option<String> {
    let given: Vec<_> = args
        .cookie
        .iter()
        .filter(|text| text.contains('='))
        .map(|text| text.trim_end_matches([';', ' ']))
        .collect();
    (!given.is_empty()).then(|| given.join("; "))
}

/// Writes them, as `-c` says.
pub(super) fn keep(args: &CurlArgs, jar: Option<&CookieJar>) -> Result<(), Failure> {
    let (Some(path), Some(jar)) = (&args.cookie_jar, jar) else {
        return Ok(());
    };
    let text = jar.to_netscape();
    if path.as_os_str() == "-" {
        return output::stdout(text.as_bytes());
    }
    private_file::replace(path, &text).map_err(|error| Failure::unwritten(path, error))
}
