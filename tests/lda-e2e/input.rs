//! Bad input: what comes in lies on disk byte for byte, apart from line ends as configured.

use std::fs;

use crate::lab::{Lab, said};

fn delivered(lab: &Lab, input: &[u8]) -> (Vec<u8>, String) {
    for path in lab.messages() {
        fs::remove_file(path).unwrap();
    }
    let output = lab.deliver(&[], input);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let all = lab.messages();
    assert_eq!(all.len(), 1, "{all:?}");
    (fs::read(&all[0]).unwrap(), all[0].file_name().unwrap().to_string_lossy().into_owned())
}

/// Inputs of all kinds, by name.
fn inputs() -> Vec<(&'static str, Vec<u8>)> {
    let long = vec![b'x'; 1 << 20];
    vec![
        ("nothing", b"".to_vec()),
        ("one line feed", b"\n".to_vec()),
        ("no header", b"\nonly a body\n".to_vec()),
        ("no body", b"Subject: x\n".to_vec()),
        ("no line end", b"Subject: x".to_vec()),
        ("NUL", b"Subject: a\0b\n\n\0\0\n".to_vec()),
        ("a line of 1 MiB", [b"Subject: x\n\n".to_vec(), long.clone(), b"\n".to_vec()].concat()),
        ("a header of 1 MiB", [b"Subject: ".to_vec(), long.clone(), b"\n\nx\n".to_vec()].concat()),
        ("bytes beyond ASCII", (0..=255).collect()),
        ("bare CR", b"Subject: x\n\na\rb\rc\n\r".to_vec()),
        ("CR CR LF", b"A: b\n\nx\r\r\ny\n".to_vec()),
        ("a From line within", b"A: b\n\nFrom joe\n".to_vec()),
        ("dots", b"A: b\n\n.\n..\n.x\n".to_vec()),
        ("10 MiB", [b"A: b\n\n".to_vec(), b"0123456789abcdef\n".repeat(600_000)].concat()),
        ("not a field", b"this is no field\nA: b\n\nx\n".to_vec()),
    ]
}

/// What a user can put into the mailbox: pipes that nobody writes to, files without end. Mail waits, the agent does not.
#[test]
fn hostile_files_in_the_mailbox() {
    let lab = Lab::new("hostile", "lda_mailbox_autocreate = true\nlda_mailbox_autosubscribe = true");
    assert_eq!(lab.deliver(&[], b"A: b\n\nx\n").status.code(), Some(0));
    let pipe = |name: &str| {
        let path = lab.root().join(name);
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        std::os::unix::fs::chown(&path, Some(crate::lab::USER), Some(crate::lab::USER)).unwrap();
        path
    };
    let size = pipe("maildirsize");
    let subscriptions = pipe("subscriptions");
    let deliver = |arguments: &[&str]| {
        let mut command = std::process::Command::new("timeout");
        command.arg("20").arg(crate::lab::program()).arg("-c").arg(&lab.conf).args(["-d", "joe", "-L"]);
        crate::lab::run(command.args(arguments), b"A: b\n\ny\n")
    };
    let output = deliver(&[]);
    assert_eq!(output.status.code(), Some(75), "{}", said(&output));
    assert!(said(&output).contains("maildirsize) failed: it is no file; remove it"), "{}", said(&output));
    fs::remove_file(&size).unwrap();
    let output = deliver(&["-m", "Sub"]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert!(said(&output).contains("cannot be subscribed to"), "{}", said(&output));
    fs::remove_file(&subscriptions).unwrap();
    fs::File::create(&subscriptions).unwrap().set_len(1 << 40).unwrap();
    let output = deliver(&["-m", "Sub2"]);
    assert!(output.status.success() && said(&output).contains("larger than"), "{}", said(&output));
}

/// CR LF becomes LF; other CRs stay.
fn with_lf(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for (at, byte) in bytes.iter().enumerate() {
        if !(*byte == b'\r' && bytes.get(at + 1) == Some(&b'\n')) {
            out.push(*byte);
        }
    }
    out
}

/// Every LF that follows no CR gets one.
fn with_crlf(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for (at, byte) in bytes.iter().enumerate() {
        if *byte == b'\n' && (at == 0 || bytes[at - 1] != b'\r') {
            out.push(b'\r');
        }
        out.push(*byte);
    }
    out
}

/// The sizes in the name are those on disk and with CR LF.
fn check_name(name: &str, content: &[u8], what: &str) {
    let number = |key: &str| {
        name.split(',').find_map(|part| part.strip_prefix(key)).and_then(|text| text.parse::<usize>().ok())
    };
    assert_eq!(number("S="), Some(content.len()), "{what}: {name}");
    assert_eq!(number("W="), Some(with_crlf(content).len()), "{what}: {name}");
}

#[test]
fn bytes_stay_as_they_are() {
    let lab = Lab::new("input", "");
    for (what, input) in inputs() {
        let (content, name) = delivered(&lab, &input);
        assert!(content == with_lf(&input), "{what}: {} bytes became {}", input.len(), content.len());
        check_name(&name, &content, what);
        let crlf = with_crlf(&input);
        let (content, _) = delivered(&lab, &crlf);
        assert!(content == with_lf(&crlf), "{what} with CR LF");
    }
}

#[test]
fn lines_end_in_crlf_when_asked_for() {
    let lab = Lab::new("inputcrlf", "mail_save_crlf = true");
    for (what, input) in inputs() {
        let (content, name) = delivered(&lab, &input);
        assert!(content == with_crlf(&input), "{what}: {} bytes became {}", input.len(), content.len());
        check_name(&name, &content, what);
    }
}

#[test]
fn the_from_line_of_mbox_goes() {
    let lab = Lab::new("fromline", "");
    let (content, _) =
        delivered(&lab, b"From anna@a.example Thu Nov 26 09:53:13 2026\nSubject: x\n\nFrom here\n");
    assert_eq!(content, b"Subject: x\n\nFrom here\n");
    assert_eq!(delivered(&lab, b"From x").0, b"");
    // What never ends is no such line.
    let long = [b"From ".to_vec(), vec![b'x'; 100_000], b"\n\nbody\n".to_vec()].concat();
    assert!(delivered(&lab, &long).0 == long);
}
