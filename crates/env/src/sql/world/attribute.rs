//! The catalogue of attributes: what a question says, and the three ways a database may write it.

use std::sync::LazyLock;

use super::words::{MONTH_COLUMNS, MONTHS, SPELLINGS, Spelling, Style, YEARS};

/// Something rows have and questions ask about: a state, a month, a size.
pub(super) struct Attribute {
    /// What a question calls it.
    pub(super) word: &'static str,
    /// Names of columns it may stand in.
    pub(super) columns: [&'static str; 3],
    /// Every value it may take.
    pub(super) values: Vec<Wording>,
}

/// One value of an attribute.
pub(super) struct Wording {
    /// In questions.
    pub(super) spoken: String,
    /// In databases, by style. No other value of the attribute is written so in any style, hence a
    /// query in the wrong style finds no row.
    pub(super) stored: [String; STYLES],
}

/// Ways to write a value.
pub(super) const STYLES: usize = 3;

/// All attributes; a [`Feature`](super::schema::Feature) names one by its index.
pub(super) static ATTRIBUTES: LazyLock<Vec<Attribute>> = LazyLock::new(|| {
    let mut attributes: Vec<Attribute> = SPELLINGS.iter().map(spelled).collect();
    attributes.push(Attribute { word: "month", columns: MONTH_COLUMNS, values: months() });
    attributes
});

fn spelled(spelling: &Spelling) -> Attribute {
    let wording = |(place, spoken): (usize, &&str)| Wording {
        spoken: (*spoken).to_owned(),
        stored: spelling.styles.each_ref().map(|style| write(style, place, spoken)),
    };
    let values = spelling.spoken.iter().enumerate().map(wording).collect();
    Attribute { word: spelling.word, columns: spelling.columns, values }
}

fn write(style: &Style, place: usize, spoken: &str) -> String {
    match style {
        Style::Upper => spoken.to_uppercase(),
        Style::Title => title(spoken),
        Style::Initial => spoken[..1].to_uppercase(),
        Style::Three => title(&spoken[..3]),
        Style::Number => (place + 1).to_string(),
        Style::Listed(abbreviations) => abbreviations[place].to_owned(),
    }
}

fn months() -> Vec<Wording> {
    let dated = |year: &str, number: usize, name: &str| Wording {
        spoken: format!("{name} {year}"),
        stored: [
            format!("{year}-{number:02}"),
            format!("{number:02}/{year}"),
            format!("{}-{year}", title(&name[..3])),
        ],
    };
    let of_year =
        |year| MONTHS.iter().enumerate().map(move |(place, name)| dated(year, place + 1, name));
    YEARS.iter().flat_map(|year| of_year(year)).collect()
}

fn title(word: &str) -> String {
    word[..1].to_uppercase() + &word[1..]
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_stored_form_means_one_value_in_one_style() {
        for attribute in ATTRIBUTES.iter() {
            let forms: BTreeSet<&String> =
                attribute.values.iter().flat_map(|wording| &wording.stored).collect();
            assert_eq!(forms.len(), STYLES * attribute.values.len(), "{}", attribute.word);
        }
    }

    #[test]
    fn values_are_written_as_the_lists_say() {
        let stored = |word: &str, place: usize| {
            let attribute = ATTRIBUTES.iter().find(|a| a.word == word).unwrap();
            attribute.values[place].stored.join(" ")
        };
        assert_eq!(stored("state", 0), "CALIFORNIA California CA");
        assert_eq!(stored("weekday", 1), "TUESDAY Tue 2");
        assert_eq!(stored("active", 1), "N 0 FALSE");
        assert_eq!(stored("month", 14), "2021-03 03/2021 Mar-2021");
    }
}
