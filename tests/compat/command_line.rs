//! The command line: what is checked, what is printed, and the exit code.

use std::process::Command;

use harness::milter::Subject;
use harness::scratch::Scratch;
use harness::wait::output;

use crate::case::subjects;

/// A configuration (`{dir}` is a folder with the keys `rsa` and `wide`) and arguments, and the exit codes.
struct Call {
    why: &'static str,
    conf: &'static str,
    arguments: &'static [&'static str],
    reference: i32,
    ours: i32,
    /// The difference that makes the codes differ; empty if they do not.
    number: &'static str,
}

const CHECK: &[&str] = &["-n"];

const fn same(why: &'static str, conf: &'static str, arguments: &'static [&'static str], code: i32) -> Call {
    Call { why, conf, arguments, reference: code, ours: code, number: "" }
}

const fn differs(
    number: &'static str,
    why: &'static str,
    conf: &'static str,
    reference: i32,
    ours: i32,
) -> Call {
    Call { why, conf, arguments: CHECK, reference, ours, number }
}

fn scratch() -> Scratch {
    let scratch = Scratch::new("cmd");
    scratch.write_secret("rsa", harness::keys::RSA.pem);
    scratch.write("wide", harness::keys::RSA.pem);
    scratch.write("keys", format!("one a.example:s:{}\n", scratch.file("rsa").display()));
    scratch.write("senders", "*@a.example unknown\n");
    scratch.write("flat", "a.example unknown\n");
    scratch.write("nokey", "*@a.example\n");
    scratch.write("empty", "");
    scratch.write("lua", "return nil\n");
    scratch.write("message", "From: x@a.example\n\nx\n");
    scratch
}

/// Exit code, standard output and standard error of one call with `conf`.
fn call(subject: Subject, scratch: &Scratch, conf: &str, arguments: &[&str]) -> (i32, String, String) {
    let folder = scratch.path().to_str().unwrap();
    let file = scratch.write("conf", conf.replace("{dir}", folder));
    let mut command = Command::new(subject.program());
    command.arg("-x").arg(file).args(arguments.iter().map(|argument| argument.replace("{dir}", folder)));
    let output = output(command.current_dir(scratch.path()), b"");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().unwrap_or(-1), text(&output.stdout), text(&output.stderr))
}

#[track_caller]
fn run(calls: &[Call]) {
    let scratch = scratch();
    let mut wrong = Vec::new();
    for Call { why, conf, arguments, reference, ours, number } in calls {
        assert_eq!(number.is_empty(), reference == ours, "{why}: a difference has a number");
        for subject in subjects() {
            let want = if subject == Subject::Ours { ours } else { reference };
            let (code, out, err) = call(subject, &scratch, conf, arguments);
            if code != *want {
                wrong.push(format!("{why}\n  {subject:?} wanted {want}, exited with {code}\n{out}{err}"));
            }
            // A refusal says why; OpenDKIM does not always.
            if subject == Subject::Ours && *want != 0 && !arguments.contains(&"-e") && err.trim().is_empty() {
                wrong.push(format!("{why}\n  {subject:?} says nothing"));
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}

#[test]
fn configurations_that_are_checked() {
    run(&[
        same("a good file", "Syslog yes\nMode sv\n", CHECK, 0),
        same("an empty file", "", CHECK, 0),
        same("comments and blank lines", "# x\n\n  \t\nMode v # y\n", CHECK, 0),
        same("names in any case, CRLF", "mODE v\r\nsubdomains Yes\r\n", CHECK, 0),
        same("an unknown name", "Nonsense x\n", CHECK, 78),
        same("a name of old", "ADSPAction reject\n", CHECK, 78),
        Call {
            why: "names of old that are to be tolerated",
            conf: "ADSPAction reject\n",
            arguments: &["-n", "-X"],
            reference: 78,
            ours: 0,
            number: "D5",
        },
        same("no value", "Mode\n", CHECK, 78),
        same("a number that is none", "DNSTimeout soon\n", CHECK, 78),
        same("a switch that is neither", "Syslog maybe\n", CHECK, 78),
        same(
            "switches by their first letter",
            "Syslog T\nLogWhy n\nSubDomains 1\nLogResults fine\n",
            CHECK,
            0,
        ),
        same("octal and hexadecimal numbers", "UMask 007\nDNSTimeout 0x5\n", CHECK, 0),
        same("an unknown mode", "Mode x\n", CHECK, 78),
        same("an unknown canonicalization", "Canonicalization strict\n", CHECK, 78),
        same("an unknown signature algorithm", "SignatureAlgorithm dsa\n", CHECK, 78),
        same("a key file that is not there", "Domain a\nSelector s\nKeyFile {dir}/none\n", CHECK, 78),
        same("a key file that others may read", "Domain a\nSelector s\nKeyFile {dir}/wide\n", CHECK, 78),
        same(
            "which may be allowed",
            "Domain a\nSelector s\nKeyFile {dir}/wide\nRequireSafeKeys no\n",
            CHECK,
            0,
        ),
        same("a domain without a key", "Domain a\n", CHECK, 78),
        same("a key without a selector", "Domain a\nKeyFile {dir}/rsa\n", CHECK, 78),
        same("KeyTable alone", "KeyTable {dir}/keys\n", CHECK, 78),
        same("SigningTable alone", "SigningTable {dir}/flat\n", CHECK, 78),
        same("empty tables", "KeyTable {dir}/empty\nSigningTable refile:{dir}/empty\n", CHECK, 0),
        same("a data set that is not there", "InternalHosts {dir}/none\n", CHECK, 78),
        same("an unknown kind of data set", "InternalHosts foo:bar\n", CHECK, 78),
        same("an include that is not there", "Include {dir}/none\n", CHECK, 78),
        differs("D59", "a trust anchor that is not there", "TrustAnchorFile {dir}/none\n", 78, 0),
        same("the usual rate", "AutoRestart yes\nAutoRestartRate 10/1M\n", CHECK, 0),
        same("a folder that is not there", "BaseDirectory {dir}/none\n", CHECK, 78),
        differs("D2", "an unknown action", "On-BadSignature perhaps\n", 0, 78),
        differs(
            "D4",
            "a restart rate that cannot be read",
            "AutoRestart yes\nAutoRestartRate often\n",
            0,
            78,
        ),
        differs("D7", "rsa-sha1", "SignatureAlgorithm rsa-sha1\n", 0, 78),
        differs("D7", "a part of the body", "MaximumSignedBytes 100\n", 0, 78),
        differs("D7", "the same by recipient", "BodyLengthDB list@a.example\n", 0, 78),
        differs("D8", "rewriting of fields", "ReplaceHeaders From\n", 0, 78),
        differs("D8", "a script that decides", "FinalPolicyScript {dir}/lua\n", 0, 78),
        differs(
            "D57",
            "a key file of KeyTable that is not there",
            "KeyTable csl:one=a.example:s:{dir}/none\nSigningTable csl:a.example=one\n",
            0,
            78,
        ),
        differs(
            "D10",
            "a key that KeyTable does not have",
            "KeyTable {dir}/keys\nSigningTable {dir}/flat\n",
            0,
            78,
        ),
        differs(
            "D10",
            "the same in patterns",
            "KeyTable {dir}/keys\nSigningTable refile:{dir}/senders\n",
            0,
            78,
        ),
        differs(
            "D10",
            "a line of patterns without a key",
            "KeyTable {dir}/keys\nSigningTable refile:{dir}/nokey\n",
            0,
            78,
        ),
    ]);
}

#[test]
fn arguments() {
    run(&[
        same("a flag that is unknown", "", &["-Z"], 64),
        same("-q, which only the usage text has", "", &["-q"], 64),
        same("a word too many", "", &["-n", "word"], 64),
        same("a flag without its value", "", &["-p"], 64),
        same("-V", "", &["-V"], 0),
        Call {
            why: "-t",
            conf: "",
            arguments: &["-t", "{dir}/message"],
            reference: 0,
            ours: 64,
            number: "D55",
        },
        same("no socket", "", &["-f"], 78),
        Call {
            why: "a socket of no known kind is a mistake in the configuration",
            conf: "",
            arguments: &["-f", "-p", "foo:bar"],
            reference: 69,
            ours: 78,
            number: "D18",
        },
        same(
            "a restart rate that cannot be read, at start",
            "AutoRestart yes\nAutoRestartRate often\n",
            &["-f", "-p", "local:{dir}/s"],
            78,
        ),
        same("a user that is not there", "Socket local:{dir}/s\n", &["-f", "-u", "no-such-user"], 65),
        same(
            "flags in place of parameters",
            "",
            &["-n", "-b", "sv", "-c", "relaxed/simple", "-D", "-l", "-W", "-r", "-T", "3"],
            0,
        ),
        same("a flag's value is checked, too", "", &["-n", "-b", "x"], 78),
        same("the flag wins over the file", "Mode s\n", &["-n", "-b", "v"], 0),
        same(
            "a pid file, a socket and a key",
            "",
            &["-n", "-P", "{dir}/p", "-p", "local:{dir}/s", "-d", "a.example", "-s", "s", "-k", "{dir}/rsa"],
            0,
        ),
        same("-e and a value", "Mode s\n", &["-e", "Mode"], 0),
        same("-e and no value", "", &["-e", "Domain"], 78),
        same("-e and an unknown name", "", &["-e", "Nonsense"], 65),
    ]);
}

#[test]
fn a_file_that_is_not_there() {
    let scratch = scratch();
    for subject in subjects() {
        let mut command = Command::new(subject.program());
        let output = output(command.args(["-n", "-x"]).arg(scratch.file("none")), b"");
        assert_eq!(output.status.code(), Some(78), "{subject:?}");
    }
}

#[test]
fn what_is_printed() {
    let scratch = scratch();
    for subject in subjects() {
        let (_, out, err) = call(subject, &scratch, "Mode s\nMode v\n", &["-e", "Mode"]);
        assert_eq!(out, "v\ns\n", "{subject:?}: all of them, the last one wins: {err}");
        let (_, out, _) = call(subject, &scratch, "Syslog y\n", &["-e", "syslog"]);
        assert_eq!(out, "True\n", "{subject:?}");
        let (_, out, _) = call(subject, &scratch, "SubDomains no\n", &["-e", "SubDomains"]);
        assert_eq!(out, "False\n", "{subject:?}");
        let (_, out, _) = call(subject, &scratch, "DNSTimeout 0x10\n", &["-e", "DNSTimeout"]);
        assert_eq!(out, "16\n", "{subject:?}");
        let (_, out, err) = call(subject, &scratch, "Mode s\nSocket inet:1\n", &["-n"]);
        assert_eq!((out.as_str(), err.as_str()), ("", ""), "{subject:?}: a good file is no news");
        let (_, out, _) = call(subject, &scratch, "", &["-V"]);
        let name = subject.program().file_name().unwrap().to_string_lossy().into_owned();
        assert!(out.starts_with(&format!("{name}: ")) && out.contains("rsa-sha256"), "{subject:?}: {out}");
    }
}

/// Differences D1, D3 and D13.
#[test]
fn all_mistakes_are_shown_and_doubts_are_told() {
    let scratch = scratch();
    for subject in subjects() {
        let (_, _, err) = call(subject, &scratch, "Mode s\nNonsense x\nOdd y\n", &["-n"]);
        assert!(err.contains("Nonsense") || err.contains("line 2"), "{subject:?}: {err}");
        assert_eq!(err.contains("Odd"), subject == Subject::Ours, "{err}");
        let conf = "Socket inet:1\nMode s\nMode v\nUMask 22\nInternalHosts refile:{dir}/hosts\n";
        scratch.write("hosts", "127.0.0.1\n*.a.example\n");
        let (code, _, err) = call(subject, &scratch, conf, &["-n"]);
        assert_eq!(err.contains("a pattern that begins with *"), subject == Subject::Ours, "{err}");
        assert_eq!(
            (code, err.contains("Mode") && err.contains("UMask")),
            (0, subject == Subject::Ours),
            "{err}"
        );
    }
}
