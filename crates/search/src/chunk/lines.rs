//! Where code may be cut, by blank lines and indentation alone.

use super::breaks::Break;

/// The beginnings of the lines that are not blank, in order.
///
/// What begins at the margin after a blank line is a unit of its own: a function, a type, a target. One step in after a blank line are the members
/// of such a unit. A line that goes back to the margin and closes nothing begins something as well.
pub(super) fn breaks(text: &str) -> Vec<Break> {
    let step = text.lines().filter(|line| !line.trim().is_empty()).map(indentation).filter(|at| *at > 0).min();
    let mut breaks = Vec::new();
    let (mut at, mut after_blank, mut after_end) = (0, false, false);
    for line in text.split_inclusive('\n') {
        let here = at;
        at += line.len();
        let line = line.trim_end();
        if line.is_empty() {
            after_blank = true;
            continue;
        }
        let depth = indentation(line);
        let closes = line.trim_start().starts_with(['}', ')', ']']);
        let score = match (depth, after_blank) {
            _ if closes => 1,
            (0, true) => 40,
            (_, true) if Some(depth) == step => 30,
            (_, true) => 20,
            (0, false) if after_end => 15,
            _ => 1,
        };
        if here > 0 {
            breaks.push(Break::new(here, score));
        }
        (after_blank, after_end) = (false, depth > 0 || closes);
    }
    breaks
}

/// Bytes of white space that a line begins with.
fn indentation(line: &str) -> usize {
    line.len() - line.trim_start_matches([' ', '\t']).len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Vec<(&str, u8)> {
        breaks(text).iter().map(|found| (text[found.at..].lines().next().unwrap(), found.score())).collect()
    }

    #[test]
    fn units_begin_at_the_margin_and_members_a_step_in() {
        let text =
            "class A:\n    x = 1\n\n    def f():\n        y\n\n        z\n\n# About b\ndef b():\n    pass\nb()\n";
        let expected = [
            ("    x = 1", 1),
            ("    def f():", 30),
            ("        y", 1),
            ("        z", 20),
            ("# About b", 40),
            ("def b():", 1),
            ("    pass", 1),
            ("b()", 15),
        ];
        assert_eq!(found(text), expected);
    }

    #[test]
    fn what_closes_a_unit_belongs_to_it() {
        assert_eq!(found("f() {\n\tx;\n\n}\ng() {\n"), [("\tx;", 1), ("}", 1), ("g() {", 15)]);
        assert_eq!(found("\n \n"), []);
    }
}
