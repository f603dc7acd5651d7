//! Flags of `ech get` that are named and work as curl's.

use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgMatches, Args};

use super::seconds::seconds;

#[derive(Debug, Args)]
pub(crate) struct CurlArgs {
    /// Fail with exit code 22 on a status of 400 and above, and do not write the body
    #[arg(short, long)]
    pub(crate) fail: bool,

    /// The same, but write the body
    #[arg(long, conflicts_with = "fail")]
    pub(crate) fail_with_body: bool,

    /// Accept any certificate from the origin: anyone on the path can read and change everything.
    /// ECH then hides the name from passive observers only. A rejection of ECH cannot be
    /// authenticated: it is an error, and no other connection follows. Resolvers are verified all
    /// the same
    #[arg(short = 'k', long, conflicts_with = "learn")]
    pub(crate) insecure: bool,

    /// Send user and password as Basic, to this origin only. Other users of the machine may see
    /// them on the command line
    #[arg(short, long, value_name = "USER:PASSWORD")]
    pub(crate) user: Option<String>,

    /// Send this as User-Agent; an empty one leaves the header out
    #[arg(short = 'A', long, value_name = "NAME")]
    pub(crate) user_agent: Option<String>,

    /// Send this as Referer
    #[arg(short = 'e', long, value_name = "URL")]
    pub(crate) referer: Option<String>,

    /// Send these cookies ("NAME=VALUE; …") to this origin, or those of a FILE in Netscape's format
    /// to where they belong
    #[arg(short = 'b', long, value_name = "DATA|FILE")]
    pub(crate) cookie: Vec<String>,

    /// Keep cookies, and write them to FILE at the end, for its owner only; - is stdout
    #[arg(short = 'c', long, value_name = "FILE")]
    pub(crate) cookie_jar: Option<PathBuf>,

    /// Leave out those of -b FILE that end with the session
    #[arg(short = 'j', long)]
    pub(crate) junk_session_cookies: bool,

    /// Send DATA as the body, with POST; @FILE is a file without its line ends, read while it is
    /// sent, @- stdin, of at most 16 MiB. Several of these four options are joined by &
    #[arg(short, long, value_name = "DATA")]
    pub(crate) data: Vec<String>,

    /// The same, but @FILE is sent as it is, and read while it is sent
    #[arg(long, value_name = "DATA")]
    pub(crate) data_binary: Vec<String>,

    /// The same, but @ has no meaning
    #[arg(long, value_name = "DATA")]
    pub(crate) data_raw: Vec<String>,

    /// The same, percent-encoded: CONTENT, =CONTENT, NAME=CONTENT, @FILE or NAME@FILE, the FILE of at
    /// most 16 MiB
    #[arg(long, value_name = "DATA")]
    pub(crate) data_urlencode: Vec<String>,

    /// Put the data into the URL's query instead, with GET; a FILE of at most 16 MiB
    #[arg(short = 'G', long)]
    pub(crate) get: bool,

    /// Send a field of a form (multipart/form-data), with POST: NAME=TEXT, NAME=@FILE to upload a
    /// file, NAME=<FILE for the text of a file of at most 16 MiB; then ;type=MIME and ;filename=NAME
    #[arg(
        short = 'F',
        long,
        value_name = "FIELD",
        conflicts_with_all = ["data", "data_binary", "data_raw", "data_urlencode", "json_body", "get"]
    )]
    pub(crate) form: Vec<String>,

    /// A field of the form whose @, < and ; have no meaning
    #[arg(
        long,
        value_name = "NAME=TEXT",
        conflicts_with_all = ["data", "data_binary", "data_raw", "data_urlencode", "json_body", "get"]
    )]
    pub(crate) form_string: Vec<String>,

    /// Go on with a file from this OFFSET in bytes; - is where it ends now
    #[arg(short = 'C', long, value_name = "OFFSET", conflicts_with_all = ["compressed", "json"])]
    pub(crate) continue_at: Option<String>,

    /// Try again up to N times after a time-out, a name that did not resolve, or status 408, 429,
    /// 500, 502, 503 or 504: after a second, then two, four and so on, or when Retry-After says
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) retry: u32,

    /// Wait this long instead
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub(crate) retry_delay: Option<Duration>,

    /// Begin no try after this time; allows a Retry-After of more than ten minutes
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub(crate) retry_max_time: Option<Duration>,

    /// Print FORMAT at the end: text with curl's variables such as %{http_code}, %{size_download},
    /// %{time_total}, %{header_json} and %header{NAME}, and with %{ech_status} and
    /// %{ech_outer_sni}; @FILE reads it
    #[arg(short, long, value_name = "FORMAT", conflicts_with = "json")]
    pub(crate) write_out: Option<String>,

    /// The data in the order of the command line.
    #[arg(skip)]
    pub(crate) posted: Vec<(DataKind, String)>,
}

/// Which of curl's options for data was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DataKind {
    Data,
    Binary,
    Raw,
    UrlEncode,
}

impl CurlArgs {
    /// Puts the data of all options into the order in which they were given.
    pub(crate) fn order(&mut self, matches: &ArgMatches) {
        let mut posted = Vec::new();
        for (id, kind, values) in [
            ("data", DataKind::Data, &self.data),
            ("data_binary", DataKind::Binary, &self.data_binary),
            ("data_raw", DataKind::Raw, &self.data_raw),
            ("data_urlencode", DataKind::UrlEncode, &self.data_urlencode),
        ] {
            let places = matches.indices_of(id).into_iter().flatten();
            let values = values.iter().map(|value| (kind, value.clone()));
            posted.extend(places.zip(values));
        }
        posted.sort_by_key(|(place, _)| *place);
        self.posted = posted.into_iter().map(|(_, data)| data).collect();
    }
}
