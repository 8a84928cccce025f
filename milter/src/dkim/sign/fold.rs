//! The text of a new field, folded so that its lines stay short.

/// A field's value that breaks its lines with LF and a tab, as a milter writes them.
#[derive(Debug)]
pub(super) struct Folded {
    text: String,
    column: usize,
}

impl Folded {
    /// Nothing yet; the field's name and colon already take `column` columns.
    pub(super) fn new(column: usize) -> Self {
        Self { text: String::new(), column }
    }

    /// Adds a word with a blank or a fold before it.
    pub(super) fn word(&mut self, word: &str) {
        if self.column + 1 + word.len() > LINE_COLUMNS {
            self.fold();
        } else {
            self.text.push(' ');
            self.column += 1;
        }
        self.push(word);
    }

    /// Adds a word with nothing or a fold before it.
    pub(super) fn joined(&mut self, word: &str) {
        if self.column + word.len() > LINE_COLUMNS {
            self.fold();
        }
        self.push(word);
    }

    /// Adds text in which folds may be anywhere: base64.
    pub(super) fn characters(&mut self, ascii: &str) {
        let mut rest = ascii;
        while !rest.is_empty() {
            if self.column >= LINE_COLUMNS {
                self.fold();
            }
            let fits = rest.len().min(LINE_COLUMNS - self.column);
            let (now, later) = rest.split_at_checked(fits).unwrap_or((rest, ""));
            self.push(now);
            rest = later;
        }
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }

    pub(super) fn into_text(self) -> String {
        self.text
    }

    fn fold(&mut self) {
        self.text.push_str("\n\t");
        self.column = TAB_COLUMNS;
    }

    fn push(&mut self, text: &str) {
        self.text.push_str(text);
        self.column += text.len();
    }
}

/// OpenDKIM's `DKIM_HDRMARGIN`.
const LINE_COLUMNS: usize = 75;
const TAB_COLUMNS: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_stay_within_the_margin() {
        let mut folded = Folded::new("DKIM-Signature:".len());
        folded.word("v=1;");
        (0..30).for_each(|n| folded.word(&format!("word{n};")));
        (0..30).for_each(|n| folded.joined(&format!("name{n}:")));
        folded.word("b=");
        folded.characters(&"x".repeat(300));
        let text = folded.into_text();
        assert!(text.starts_with(" v=1; word0;"));
        let full = format!("DKIM-Signature:{text}");
        for line in full.split('\n') {
            assert!(line.replace('\t', "        ").len() <= 75, "{line:?}");
            assert!(!line.trim().is_empty());
        }
        let lines = full.lines().count();
        assert!(full.lines().skip(1).take(lines - 2).all(|line| line.len() > 55), "{full}");
        assert_eq!(text.matches('x').count(), 300);
    }

    #[test]
    fn what_is_longer_than_a_line_stands_alone() {
        let mut folded = Folded::new(15);
        folded.word(&"d".repeat(100));
        folded.word("s=x;");
        folded.characters("");
        assert_eq!(folded.text(), format!("\n\t{}\n\ts=x;", "d".repeat(100)));
    }
}
