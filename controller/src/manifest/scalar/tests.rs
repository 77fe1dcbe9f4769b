//! Words and numbers, to each reader.

use super::*;

fn differ(text: &str) -> bool {
    Readings::of(text).differ()
}

#[test]
fn words_and_numbers_that_the_versions_read_differently_are_told() {
    let words = "y Y yes Yes YES n N no No NO on On ON off Off OFF";
    let numbers = "017 010 08 0_7 0b11 0B11 -0b1 0o17 0O17 0X1F -0x1F 1_000 +1_0 1__0 0x1_F 1e3 1E3 1.5e3 1e999 1_0.5";
    let others =
        "12:30 12:30:45 -1:59 190:20:30.15 0:0.5 2001-12-14 2001-12-14T21:59:43Z 2001-1-2t1:59:43.10-05:00 = <<";
    for text in words.split(' ').chain(numbers.split(' ')).chain(others.split(' ')) {
        assert!(differ(text), "{text}: {:?}", Readings::of(text));
    }
    assert!(differ("2001-12-14 21:59:43.10 -5"));
}

#[test]
fn what_all_readers_agree_on_is_left_alone() {
    let same = "~ null Null NULL true True TRUE false FALSE 0 1 -1 +5 12345 18446744073709551615 0x1F 0xab 1.5 1. .5 +.5 \
        1.0 1.5e+3 -1.5E-3 .inf -.INF +.Inf .nan .NaN yEs nO tRUE nil None - + . .. _1 1a 0xg 0b2 192.0.2.1 \
        192.0.2.0/24 2001:db8::1 2001:db8::/32 1.2.3 v1 nginx:1.25 12:60 1:2:3:x 0x 0o8x 00:11:22:33:44:55 \
        2001-12-1 2001-1-14 2001-12-14x a=b <<< == 1-2-3 10Gi 100m 5s web app";
    for text in same.split_whitespace() {
        assert!(!differ(text), "{text}: {:?}", Readings::of(text));
    }
    assert!(!differ(""));
}

#[test]
fn kubectl_reads_go_literals() {
    let cases = [
        ("010", Reading::Int(8)),
        ("08", Reading::Float(8.0)),
        ("1_000", Reading::Int(1000)),
        ("0o17", Reading::Int(15)),
        ("-0x1F", Reading::Int(-31)),
        ("0b-11", Reading::Int(-3)),
        ("9223372036854775808", Reading::Unsigned(9_223_372_036_854_775_808)),
        ("18446744073709551616", Reading::Float(18_446_744_073_709_551_616.0)),
        ("12:30:45", Reading::Text),
        ("1e999", Reading::Text),
        ("yes", Reading::Bool(true)),
        (".5", Reading::Float(0.5)),
        ("._5", Reading::Text),
        ("nil", Reading::Text),
    ];
    for (text, reading) in cases {
        assert_eq!(Readings::of(text).kubectl, reading, "{text}");
    }
}

#[test]
fn whole_floats_become_integers_on_their_way_through_json() {
    assert_eq!(Reading::Float(1000.0).to_json("1e3"), Some(Value::from(1000)));
    assert_eq!(Reading::Float(0.5).to_json(".5"), Some(Value::from(0.5)));
    assert_eq!(Reading::Float(f64::NAN).to_json(".nan"), None);
}
