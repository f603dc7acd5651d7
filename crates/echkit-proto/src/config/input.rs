//! An ECHConfigList as people hand it over: bytes or text, in any of the forms in which it is
//! published, printed and kept.

use std::fmt;

use data_encoding::BASE64;

use super::{ConfigListError, ECH_VERSION, EchConfigList};
use crate::encoding::{self, Encoding, EncodingError, Reading};
use crate::key::{EchKeyFile, KeyFileError};
use crate::pem;
use crate::svcb::{self, Record, RecordLineError};

impl EchConfigList {
    /// Reads a list in any of the forms in which people have it: binary, base64 or hexadecimal, a
    /// PEM file (RFC 9934), an `ech=` parameter, or a whole HTTPS record as DNS tools print it. A
    /// single ECHConfig without a list around it is read as a list of one.
    ///
    /// [`ConfigListInput::read`] also says which form it was.
    ///
    /// # Errors
    ///
    /// When the input has none of these forms, or does not hold an ECHConfigList.
    pub fn from_bytes_or_text(input: impl AsRef<[u8]>) -> Result<Self, ConfigInputError> {
        ConfigListInput::read(input).map(|input| input.list)
    }

    /// The list in base64, as in an `ech` SvcParam of a zone file (RFC 9848 §4).
    pub fn to_base64(&self) -> String {
        BASE64.encode(&self.encode())
    }
}

/// An ECHConfigList, and the form in which it was handed over.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConfigListInput {
    /// The list.
    pub list: EchConfigList,
    /// What the input was.
    pub form: ConfigListForm,
}

/// The form in which an ECHConfigList was handed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ConfigListForm {
    /// The list itself (RFC 9849 §4).
    List(Encoding),
    /// ECHConfigs without the list's length, as Go's `crypto/tls` takes and Caddy keeps them.
    Configs(Encoding),
    /// The RDATA of an HTTPS record (RFC 9460 §2.2) with an `ech` parameter.
    Rdata(Encoding),
    /// An HTTPS record in presentation form (RFC 9460 §2.1).
    Record,
    /// A PEM file with an ECHCONFIG block (RFC 9934).
    Pem,
}

impl fmt::Display for ConfigListForm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::List(encoding) => write!(f, "an ECHConfigList in {encoding}"),
            Self::Configs(encoding) => {
                write!(
                    f,
                    "an ECHConfig without the length of a list, in {encoding}"
                )
            }
            Self::Rdata(encoding) => write!(f, "the RDATA of an HTTPS record in {encoding}"),
            Self::Record => f.write_str("an HTTPS record"),
            Self::Pem => f.write_str("a PEM file (RFC 9934)"),
        }
    }
}

impl ConfigListInput {
    /// Reads a list, and tells in which form it was.
    ///
    /// # Errors
    ///
    /// As those of [`EchConfigList::from_bytes_or_text`].
    pub fn read(input: impl AsRef<[u8]>) -> Result<Self, ConfigInputError> {
        let input = input.as_ref();
        if pem::blocks(input).next().is_some() {
            return Ok(Self {
                list: EchKeyFile::from_pem(input)?.list().clone(),
                form: ConfigListForm::Pem,
            });
        }
        let Some(text) = encoding::text(input)? else {
            return contents(encoding::readings(input)?);
        };
        let text = encoding::unquoted(text);
        // The prefix under which curl takes a list.
        let text = text.strip_prefix("ecl:").unwrap_or(text);
        if svcb::looks_like_records(text) {
            return of_records(text);
        }
        match svcb::ech_value(text) {
            Some(value) => contents(encoding::readings(value.as_bytes())?),
            None => contents(encoding::readings(text.as_bytes())?),
        }
    }
}

/// The list in the first reading that holds one; the error is that of the likeliest.
fn contents(readings: Vec<Reading>) -> Result<ConfigListInput, ConfigInputError> {
    let mut first_error = None;
    for reading in readings {
        match of_bytes(&reading) {
            Ok(found) => return Ok(found),
            Err(error) => first_error = first_error.or(Some(error)),
        }
    }
    Err(first_error.unwrap_or(EncodingError::Empty.into()))
}

fn of_bytes(reading: &Reading) -> Result<ConfigListInput, ConfigInputError> {
    let Reading { encoding, bytes } = reading;
    let encoding = *encoding;
    let found = |list, form| Ok(ConfigListInput { list, form });
    let error = match EchConfigList::parse(bytes) {
        Ok(list) => return found(list, ConfigListForm::List(encoding)),
        Err(error) => error,
    };
    if bytes.starts_with(&ECH_VERSION.to_be_bytes()) {
        return match unframed(bytes) {
            Ok(list) => found(list, ConfigListForm::Configs(encoding)),
            Err(source) => Err(ConfigInputError::Configs { encoding, source }),
        };
    }
    let record = Record::parse(bytes)
        .ok()
        .filter(|record| !record.is_alias());
    let is_record = record.is_some();
    if let Some(list) = record.and_then(|record| record.params.ech) {
        return found(list, ConfigListForm::Rdata(encoding));
    }
    match something_else(bytes) {
        Some(what) => Err(ConfigInputError::SomethingElse { encoding, what }),
        None if is_record => Err(ConfigInputError::NoEch(1)),
        None => Err(ConfigInputError::List {
            encoding,
            source: error,
        }),
    }
}

/// ECHConfigs one behind the other, without the length that makes a list of them.
fn unframed(bytes: &[u8]) -> Result<EchConfigList, ConfigListError> {
    let len = u16::try_from(bytes.len()).map_err(|_| ConfigListError::TooLong(bytes.len()))?;
    EchConfigList::parse(&[&len.to_be_bytes()[..], bytes].concat())
}

/// What else people have at hand when they are asked for a list.
fn something_else(bytes: &[u8]) -> Option<&'static str> {
    match bytes {
        [0x16, 3, ..] => Some("a TLS record"),
        [1, high, middle, low, body @ ..]
            if u32::from_be_bytes([0, *high, *middle, *low]) as usize == body.len() =>
        {
            Some("a ClientHello")
        }
        [0x30, 0x80..=0x84, ..] => Some("a certificate or key in DER"),
        _ => None,
    }
}

fn of_records(text: &str) -> Result<ConfigListInput, ConfigInputError> {
    let lines = svcb::record_lines(text)?;
    let mut lists = Vec::new();
    for list in lines
        .iter()
        .filter_map(|line| line.record.params.ech.as_ref())
    {
        if !lists.contains(&list) {
            lists.push(list);
        }
    }
    match (lists.as_slice(), lines.len()) {
        ([list], _) => Ok(ConfigListInput {
            list: (*list).clone(),
            form: ConfigListForm::Record,
        }),
        ([], 0) => Err(ConfigInputError::NoRecord),
        ([], records) => Err(ConfigInputError::NoEch(records)),
        (several, _) => Err(ConfigInputError::SeveralLists(several.len())),
    }
}

/// An input holds no ECHConfigList. Each message says what the input was taken for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigInputError {
    /// It is text in no encoding that is known.
    #[error("{0}; give the ECHConfigList in base64, in hexadecimal, or as a PEM file (RFC 9934)")]
    Encoding(#[from] EncodingError),
    /// The bytes are not a list.
    #[error("read as an ECHConfigList in {encoding}: {source}")]
    List {
        /// Its encoding.
        encoding: Encoding,
        /// What is wrong.
        source: ConfigListError,
    },
    /// The bytes begin like an ECHConfig, and are none.
    #[error("read as an ECHConfig without the length of a list, in {encoding}: {source}")]
    Configs {
        /// Its encoding.
        encoding: Encoding,
        /// What is wrong.
        source: ConfigListError,
    },
    /// The bytes are of another structure.
    #[error("{what} in {encoding}, not an ECHConfigList")]
    SomethingElse {
        /// Its encoding.
        encoding: Encoding,
        /// What it looks like.
        what: &'static str,
    },
    /// It is a PEM file without a list that can be read.
    #[error("read as a PEM file: {0}")]
    Pem(#[from] KeyFileError),
    /// It is a record in presentation form, and malformed.
    #[error("read as HTTPS records: {0}")]
    Record(#[from] RecordLineError),
    /// It is what a DNS tool prints, without an HTTPS record in it.
    #[error("read as the output of a DNS tool: it has no HTTPS record")]
    NoRecord,
    /// The HTTPS records have no `ech`.
    #[error("{} without an `ech` parameter", match .0 { 1 => "an HTTPS record".to_owned(), n => format!("{n} HTTPS records") })]
    NoEch(usize),
    /// The HTTPS records have different lists.
    #[error("HTTPS records with {0} different ECHConfigLists; give one of them")]
    SeveralLists(usize),
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::key::{EchKey, KeyParams};
    use data_encoding::{BASE64URL, BASE64URL_NOPAD, HEXLOWER, HEXUPPER};

    fn list() -> EchConfigList {
        let key = EchKey::generate(&KeyParams::new("public.example").unwrap()).unwrap();
        EchConfigList::from(key.config().clone())
    }

    fn read(input: impl AsRef<[u8]>) -> (EchConfigList, ConfigListForm) {
        let shown = String::from_utf8_lossy(input.as_ref()).into_owned();
        let input = ConfigListInput::read(input).unwrap_or_else(|e| panic!("{shown}: {e}"));
        (input.list, input.form)
    }

    fn bad(input: impl AsRef<[u8]>) -> ConfigInputError {
        EchConfigList::from_bytes_or_text(input).unwrap_err()
    }

    #[test]
    fn a_list_is_read_in_every_form_in_which_it_is_published_or_printed() {
        let list = list();
        let bytes = list.encode();
        let b64 = BASE64.encode(&bytes);
        let wrapped = format!("{}\n{}\n", &b64[..40], &b64[40..]);
        let base64 = ConfigListForm::List(Encoding::Base64);
        for (text, form) in [
            (b64.clone(), base64),
            (b64.trim_end_matches('=').to_owned(), base64),
            (BASE64URL.encode(&bytes), base64),
            (BASE64URL_NOPAD.encode(&bytes), base64),
            (wrapped, base64),
            (format!("\"{b64}\""), base64),
            (format!("'{b64}'\n"), base64),
            (format!("\u{feff}{b64}\r\n"), base64),
            (format!("ecl:{b64}"), base64),
            (format!("ech={b64}"), base64),
            (format!("ech=\"{b64}\""), base64),
            (format!("'ech=\"{b64}\"'"), base64),
            (
                format!("alpn=\"h3,h2\" ech={b64} ipv4hint=192.0.2.1"),
                base64,
            ),
            (format!("ech={}\n{}\n", &b64[..40], &b64[40..]), base64),
            (format!("1 . alpn=h2 ech={b64}"), ConfigListForm::Record),
            (
                format!(
                    "; <<>> DiG 9.20 <<>> example.com HTTPS\nexample.com. 300 IN HTTPS 1 . ech={b64}"
                ),
                ConfigListForm::Record,
            ),
            (HEXLOWER.encode(&bytes), ConfigListForm::List(Encoding::Hex)),
            (HEXUPPER.encode(&bytes), ConfigListForm::List(Encoding::Hex)),
            (
                format!("0x{}", HEXLOWER.encode(&bytes)),
                ConfigListForm::List(Encoding::Hex),
            ),
        ] {
            assert_eq!(read(&text), (list.clone(), form), "{text}");
        }
        let binary = ConfigListForm::List(Encoding::Binary);
        assert_eq!(read(&bytes), (list.clone(), binary));
        let file = EchKeyFile::from(list.clone()).to_pem().unwrap();
        assert_eq!(read(&file), (list.clone(), ConfigListForm::Pem));
        let latin1 = [b"# Schl\xfcssel\n", file.as_bytes()].concat();
        assert_eq!(read(latin1), (list, ConfigListForm::Pem));
    }

    #[test]
    fn configs_without_a_lists_length_are_read_and_told_apart() {
        let list = list();
        let config = &list.encode()[2..];
        for (input, encoding) in [
            (config.to_vec(), Encoding::Binary),
            (BASE64.encode(config).into_bytes(), Encoding::Base64),
            (HEXLOWER.encode(config).into_bytes(), Encoding::Hex),
        ] {
            assert_eq!(
                read(input),
                (list.clone(), ConfigListForm::Configs(encoding))
            );
        }
        let two = EchConfigList::from_configs(vec![list.configs()[0].clone(); 2]).unwrap();
        assert_eq!(read(&two.encode()[2..]).0, two);
        assert!(matches!(
            bad(&config[..config.len() - 1]),
            ConfigInputError::Configs { .. }
        ));
    }

    #[test]
    fn the_rdata_of_a_record_is_read_and_told_apart() {
        let list = list();
        let mut record: Record = "1 . alpn=h2".parse().unwrap();
        let without = record.encode().unwrap();
        assert_eq!(bad(HEXLOWER.encode(&without)), ConfigInputError::NoEch(1));
        record.params.ech = Some(list.clone());
        let rdata = record.encode().unwrap();
        for (input, encoding) in [
            (rdata.clone(), Encoding::Binary),
            (HEXUPPER.encode(&rdata).into_bytes(), Encoding::Hex),
        ] {
            assert_eq!(read(input), (list.clone(), ConfigListForm::Rdata(encoding)));
        }
        let generic = format!(r"\# {} {}", rdata.len(), HEXUPPER.encode(&rdata));
        assert_eq!(read(generic), (list, ConfigListForm::Record));
    }

    #[test]
    fn several_records_with_one_list_are_read_and_with_two_refused() {
        let (one, two) = (list(), list());
        let same = format!("1 a. ech={0}\n2 b. ech={0}\n3 c. alpn=h2", one.to_base64());
        assert_eq!(read(same), (one.clone(), ConfigListForm::Record));
        let differ = format!("1 a. ech={}\n2 b. ech={}", one.to_base64(), two.to_base64());
        assert_eq!(bad(differ), ConfigInputError::SeveralLists(2));
        assert_eq!(bad("1 a. alpn=h2\n2 b."), ConfigInputError::NoEch(2));
        assert_eq!(bad(";; no answer"), ConfigInputError::NoRecord);
    }

    #[test]
    fn an_error_says_what_the_input_was_taken_for() {
        let bytes = list().encode();
        let hex = HEXLOWER.encode(&bytes);
        let b64 = BASE64.encode(&bytes);
        for (input, part) in [
            (hex[..40].to_owned(), "ECHConfigList in hexadecimal"),
            (
                hex[..41].to_owned(),
                "hexadecimal: 41 digits are an odd number",
            ),
            (b64[..40].to_owned(), "ECHConfigList in base64"),
            (format!("0x{}", &hex[..40]), "truncated"),
            ("AAAA".to_owned(), "ECHConfigList in base64"),
            ("garbage!".to_owned(), "'!', character 8"),
            ("1 . nonsense=1".to_owned(), "HTTPS records: line 1"),
            ("1603010200".to_owned(), "a TLS record in hexadecimal"),
            ("MIIBszCCAVk".to_owned(), "in DER"),
            (
                "-----BEGIN CERTIFICATE-----\nAQI=\n-----END CERTIFICATE-----".to_owned(),
                "no ECHCONFIG block",
            ),
            (String::new(), "empty"),
        ] {
            let error = bad(&input).to_string();
            assert!(error.contains(part), "{input}: {error}");
        }
    }
}
