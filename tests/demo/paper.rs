//! Plain text on standard output, with a little colour if that is a terminal.

use std::io::IsTerminal;

/// Where the demo is told.
pub struct Paper {
    colour: bool,
}

impl Paper {
    /// Standard output.
    pub fn new() -> Self {
        Self { colour: std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none() }
    }

    /// The heading of a station.
    pub fn title(&self, text: &str) {
        println!("\n{}", self.painted(BOLD, text));
    }

    /// A sentence.
    pub fn say(&self, text: &str) {
        println!("  {text}");
    }

    /// Lines of a message or a log, as they are but for their line ends.
    pub fn text(&self, text: &str) {
        for line in text.trim_end().lines() {
            println!("  {} {}", self.painted(DIM, "|"), line.trim_end_matches('\r'));
        }
    }

    /// The end of the story.
    pub fn verdict(&self, good: bool, text: &str) {
        println!("\n{}", self.painted(if good { GREEN } else { RED }, text));
    }

    fn painted(&self, colour: &str, text: &str) -> String {
        if self.colour { format!("\x1b[{colour}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

const BOLD: &str = "1";
const DIM: &str = "2";
const RED: &str = "1;31";
const GREEN: &str = "1;32";
