//! The test vectors of RFC 9460 appendix D, in all three forms.
#![allow(clippy::unwrap_used)]

use echkit_proto::svcb::{ParamsError, Record, SvcParamKey, TextError};
use hex_literal::hex;

/// Presentation forms of one record, and its RDATA.
const GOOD: &[(&[&str], &[u8])] = &[
    // D.1
    (
        &["0 foo.example.com."],
        &hex!("0000 03666f6f076578616d706c6503636f6d00"),
    ),
    // D.2
    (&["1 ."], &hex!("0001 00")),
    (
        &["16 foo.example.com. port=53"],
        &hex!("0010 03666f6f076578616d706c6503636f6d00 0003 0002 0035"),
    ),
    (
        &["1 foo.example.com. key667=hello"],
        &hex!("0001 03666f6f076578616d706c6503636f6d00 029b 0005 68656c6c6f"),
    ),
    (
        &[r#"1 foo.example.com. key667="hello\210qoo""#],
        &hex!("0001 03666f6f076578616d706c6503636f6d00 029b 0009 68656c6c6fd2716f6f"),
    ),
    (
        &["1 foo.example.com. (\n ipv6hint=\"2001:db8::1,2001:db8::53:1\"\n )"],
        &hex!(
            "0001 03666f6f076578616d706c6503636f6d00 0006 0020
             20010db8000000000000000000000001 20010db8000000000000000000530001"
        ),
    ),
    (
        &[r#"1 example.com. ipv6hint="2001:db8:122:344::192.0.2.33""#],
        &hex!("0001 076578616d706c6503636f6d00 0006 0010 20010db80122034400000000c0000221"),
    ),
    (
        &["16 foo.example.org. ( alpn=h2,h3-19 mandatory=ipv4hint,alpn\n ipv4hint=192.0.2.1 )"],
        &hex!(
            "0010 03666f6f076578616d706c65036f726700 0000 0004 0001 0004
             0001 0009 026832 0568332d3139 0004 0004 c0000201"
        ),
    ),
    (
        &[
            r#"16 foo.example.org. alpn="f\\\\oo\\,bar,h2""#,
            r"16 foo.example.org. alpn=f\\\092oo\092,bar,h2",
        ],
        &hex!("0010 03666f6f076578616d706c65036f726700 0001 000c 08665c6f6f2c626172 026832"),
    ),
];

#[test]
fn good_records_read_and_write_alike_in_every_form() {
    for (texts, wire) in GOOD {
        let record = Record::parse(wire).unwrap();
        assert_eq!(record.encode().unwrap(), *wire);
        for text in *texts {
            assert_eq!(text.parse::<Record>().as_ref(), Ok(&record), "{text}");
        }
        let hex: String = wire.iter().map(|octet| format!("{octet:02x} ")).collect();
        let generic = format!(r"\# {} ( {hex} )", wire.len());
        assert_eq!(generic.parse::<Record>().as_ref(), Ok(&record), "{generic}");
        let shown = record.to_string();
        assert_eq!(shown.parse::<Record>(), Ok(record), "{shown}");
    }
}

#[test]
fn failure_cases_fail_for_the_reason_given() {
    let key123 = SvcParamKey(123);
    // D.3
    for (params, error) in [
        ("key123=abc key123=def", TextError::Duplicate(key123)),
        ("mandatory", TextError::Value(SvcParamKey::MANDATORY)),
        ("alpn", TextError::Value(SvcParamKey::ALPN)),
        ("port", TextError::Value(SvcParamKey::PORT)),
        ("ipv4hint", TextError::Value(SvcParamKey::IPV4HINT)),
        ("ipv6hint", TextError::Value(SvcParamKey::IPV6HINT)),
        (
            "no-default-alpn=abc",
            TextError::Value(SvcParamKey::NO_DEFAULT_ALPN),
        ),
        (
            "mandatory=key123",
            ParamsError::MandatoryMissing(key123).into(),
        ),
        ("mandatory=mandatory", ParamsError::MandatoryItself.into()),
        (
            "mandatory=key123,key123 key123=abc",
            ParamsError::MandatoryOrder.into(),
        ),
    ] {
        let text = format!("1 foo.example.com. {params}");
        assert_eq!(text.parse::<Record>(), Err(error), "{params}");
    }
}
