//! Tests of templates.

use super::*;

fn request() -> Request {
    Request {
        user: "Ab@xY.de".into(),
        original_user: "AB@xY.de".into(),
        service: "smtp".into(),
        remote_ip: Some([192, 0, 2, 7].into()),
        remote_port: 4711,
        secured: true,
        ..Request::default()
    }
}

fn expand(text: &str) -> String {
    let request = request();
    let secret = Secret::from("pw");
    let values = Values {
        request: &request,
        password: Some(&secret),
        home: Some("/home/ab"),
        extra: &[("ldap:uid", "u1")],
    };
    Template::parse(text).unwrap().expand(&values)
}

#[test]
fn names_stand_for_values() {
    for (text, want) in [
        ("", ""),
        ("plain", "plain"),
        ("100%%", "100%"),
        ("%u|%n|%d", "Ab@xY.de|Ab|xY.de"),
        ("%Lu %Un", "ab@xy.de AB"),
        ("%{user|domain}", "xY.de"),
        ("%{ user | domain | lower }", "xy.de"),
        ("%{remote_ip}:%{rport}", "192.0.2.7:4711"),
        ("[%{lip}%a]", "[]"),
        ("%s%c%k", "smtpsecured"),
        ("%w", "pw"),
        ("%h", "/home/ab"),
        ("%{ldap:uid}/%{ldap:cn:none}/%{ldap:cn}", "u1/none/"),
        ("%{ldap:cn | default('x')}", "x"),
    ] {
        assert_eq!(expand(text), want, "{text}");
    }
}

#[test]
fn mistakes_are_named_with_their_place() {
    for (text, offset, part) in [
        ("%", 0, "%%"),
        ("ab%", 2, "%%"),
        ("ab%q", 2, "%q"),
        ("%{usre}", 2, "`user`"),
        ("x%{user | lowr}", 10, "lowr"),
        ("%{user", 1, "without"),
        ("%{if;%u;eq;x;a;b}", 2, "not supported"),
        ("%{user|index('',1)}", 7, "separator"),
        ("%{user|hexlify(1,2)}", 7, "wrong number"),
        ("%{user|lower(1)}", 7, "no arguments"),
        ("%{user|default(x)}", 7, "not in quotes"),
        ("%{md5;rounds=0:user}", 2, "rounds must be"),
    ] {
        let error = Template::parse(text).unwrap_err();
        assert_eq!(error.offset, offset, "{text}: {error}");
        assert!(error.message.contains(part), "{text}: {error}");
    }
}

#[test]
fn dovecot_2_3_19_expands_the_same() {
    let request = Request { user: "Ab@xY@c.d".into(), ..Request::default() };
    for (text, want) in [
        ("%d", "xY@c.d"),
        ("%n", "Ab"),
        ("%{domain_first}", "xY"),
        ("%{domain_last}", "c.d"),
        ("%5.3u", "@c."),
        ("%3u", "Ab@"),
        ("%-3u", "Ab@"),
        ("%-5.3u", "Y@c"),
        ("%-5.9u", "Y@c.d"),
        ("%15.u", ""),
        ("%-20.3u", "Ab@"),
        ("%2.-2u", "@xY@c"),
        ("%3.-9u", "xY@c.d"),
        ("%3.0u", "xY@c.d"),
        ("%015u", "000000Ab@xY@c.d"),
        ("%3.09u", "000xY@c.d"),
        ("%05.8u", "@c.d"),
        ("%2.02u", "@xY@c.d"),
        ("%Hu", "7dd2324"),
        ("%256Hu", "24"),
        ("%2.256Hu", "24"),
        ("%012Hu", "8"),
        ("%Nu", "a16290a6"),
        ("%2.256Nu", "a6"),
        ("%Mu", "68104a16a16290a63b767520a316493d"),
        ("%1Mu", "6"),
        ("%Ru", "d.c@Yx@bA"),
        ("%LRu", "d.c@yx@ba"),
        ("%2Lu", "ab"),
        ("%Dd", "xY@c,dc=d"),
        ("%U{user}", "AB@XY@C.D"),
        ("%{sha256:user}", "a6daefdbb25f09603e048259a2218411b5dd3b432a05fcd6ddb2d39d829dd325"),
        (
            "%{sha256;rounds=2,salt=ab:user}",
            "51dae1130ad1d6d52bab3696adf041413c5685eab0545f8a6c841bbfd791ce98",
        ),
        ("%{md5;format=base64:user}", "aBBKFqFikKY7dnUgoxZJPQ=="),
        ("%{md5;truncate=12:user}", "0681"),
        ("%{md5;truncate=13:user}", "0d02"),
        ("%{sha1:user}", "22b41f709dfb8e37324351e89b524912d681bd3e"),
        ("[%c%m%{login_user}]", "[]"),
        ("%{passdb:x:def}", "def"),
        ("%{auth_user}", "Ab@xY@c.d"),
    ] {
        assert_eq!(Template::parse(text).unwrap().expand(&Values::of(&request)), want, "{text}");
    }
    let request = Request { user: "1234".into(), ..Request::default() };
    assert_eq!(Template::parse("%Xu").unwrap().expand(&Values::of(&request)), "4d2");
}

#[test]
fn filters_of_dovecot_2_4() {
    assert_eq!(expand("%{service | md5 | hexlify}"), expand("%{service|md5}"));
    for (text, want) in [
        ("%{user | substr(0, 1)}", "A"),
        ("%{user | substr(-2)}", "de"),
        ("%{user | substr(1, -3)}", "b@xY"),
        ("%{user | truncate(2)}", "Ab"),
        ("%{user|username|reverse|upper}", "BA"),
        ("%{service | base64}", "c210cA=="),
        ("%{service | hexlify}", "736d7470"),
        ("%{service | hexlify(0)}", "736d7470"),
        ("%{service | hexlify(3)}", "736"),
        ("%{service | hexlify(10)}", "00736d7470"),
        ("%{user | index('@', 0)}", "Ab"),
        ("%{user | index('@', -1) | index('.', 1)}", "de"),
        ("%{user | index('@', 2)}[%{user | index('@', -3)}]", "[]"),
        ("%{lip | default('no | \"ip\"')}", "no | \"ip\""),
    ] {
        assert_eq!(expand(text), want, "{text}");
    }
    assert_eq!(expand("%{user | sha256(rounds=2, salt='ab')}"), expand("%{sha256;rounds=2,salt=ab:user}"));
    assert_eq!(expand("%{user | hash('sha1')}"), expand("%{sha1:user}"));
}

#[test]
fn values_that_are_no_text_do_no_harm() {
    let request = Request { user: "ä\u{fffd}€@ß".into(), ..Request::default() };
    let secret = Secret::new(vec![0xff, b'a']);
    let values = Values { password: Some(&secret), ..Values::of(&request) };
    assert_eq!(Template::parse("%1u").unwrap().expand(&values), "\u{fffd}");
    assert_eq!(Template::parse("%Ru").unwrap().expand(&values), "ß@€\u{fffd}ä");
    assert_eq!(Template::parse("%w").unwrap().expand(&values), "\u{fffd}a");
}

proptest::proptest! {
    #[test]
    fn any_text_is_read_or_refused(text in "[%{}|;:=().,'\"0-9a-zA-Z@ \\\\-]{0,40}", user in "\\PC{0,20}") {
        let request = Request { user, ..Request::default() };
        match Template::parse(&text) {
            Ok(template) => {
                let _out = template.expand(&Values::of(&request));
                proptest::prop_assert!(template.has_variables() || template.pieces().len() <= 1);
            }
            Err(error) => proptest::prop_assert!(error.offset <= text.len() && text.is_char_boundary(error.offset)),
        }
    }

    #[test]
    fn text_without_percent_stands_for_itself(text in "[^%]{0,40}") {
        proptest::prop_assert_eq!(Template::parse(&text).unwrap().expand(&Values::of(&Request::default())), text);
    }
}
