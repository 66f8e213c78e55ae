//! The closed word lists that all databases share (DECISIONS 12): a held-out database combines
//! them anew and holds no word of its own.

/// Names of tables.
pub(super) const TABLES: [&str; 12] = [
    "customers",
    "orders",
    "products",
    "employees",
    "stores",
    "payments",
    "invoices",
    "shipments",
    "tickets",
    "accounts",
    "students",
    "visits",
];

/// Names of columns that hold whole numbers.
pub(super) const NUMBERS: [&str; 8] =
    ["amount", "price", "weight", "score", "age", "quantity", "cost", "length"];

/// Years in the column `month`, with the months below.
pub(super) const YEARS: [&str; 4] = ["2020", "2021", "2022", "2023"];

pub(super) const MONTHS: [&str; 12] = [
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
];

/// The words of one attribute; [`Attribute`](super::attribute::Attribute) spells them out.
pub(super) struct Spelling {
    /// What a question calls it; also one of the columns' names, so that the name says nothing.
    pub(super) word: &'static str,
    /// Three names a column that holds it may have.
    pub(super) columns: [&'static str; 3],
    /// How questions speak of each value.
    pub(super) spoken: &'static [&'static str],
    /// Three ways in which a database may write it, one per style.
    pub(super) styles: [Style; 3],
}

/// How a database writes a value that a question speaks.
pub(super) enum Style {
    /// `OPEN`
    Upper,
    /// `Open`
    Title,
    /// `O`
    Initial,
    /// `Mon`
    Three,
    /// Place in the list, from 1.
    Number,
    /// An abbreviation of its own for each value.
    Listed(&'static [&'static str]),
}

/// All but `month`, whose values are a product of lists.
pub(super) const SPELLINGS: [Spelling; 8] = [
    Spelling {
        word: "state",
        columns: ["state", "ship_state", "bill_state"],
        spoken: &["california", "texas", "florida", "ohio", "nevada", "oregon", "utah", "iowa"],
        styles: [
            Style::Upper,
            Style::Title,
            Style::Listed(&["CA", "TX", "FL", "OH", "NV", "OR", "UT", "IA"]),
        ],
    },
    Spelling {
        word: "country",
        columns: ["country", "home_country", "work_country"],
        spoken: &["france", "germany", "spain", "italy", "japan", "brazil", "canada", "india"],
        styles: [
            Style::Title,
            Style::Listed(&["FR", "DE", "ES", "IT", "JP", "BR", "CN", "IN"]),
            Style::Listed(&["FRA", "DEU", "ESP", "ITA", "JPN", "BRA", "CAN", "IND"]),
        ],
    },
    Spelling {
        word: "status",
        columns: ["status", "old_status", "new_status"],
        spoken: &["open", "closed", "pending", "shipped"],
        styles: [Style::Upper, Style::Initial, Style::Number],
    },
    Spelling {
        word: "active",
        columns: ["active", "is_active", "active_flag"],
        spoken: &["yes", "no"],
        styles: [Style::Initial, Style::Listed(&["1", "0"]), Style::Listed(&["TRUE", "FALSE"])],
    },
    Spelling {
        word: "weekday",
        columns: ["weekday", "open_weekday", "main_weekday"],
        spoken: &["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"],
        styles: [Style::Upper, Style::Three, Style::Number],
    },
    Spelling {
        word: "size",
        columns: ["size", "pack_size", "item_size"],
        spoken: &["small", "medium", "large"],
        styles: [Style::Title, Style::Initial, Style::Number],
    },
    Spelling {
        word: "priority",
        columns: ["priority", "first_priority", "last_priority"],
        spoken: &["low", "medium", "high", "urgent"],
        styles: [Style::Upper, Style::Initial, Style::Number],
    },
    Spelling {
        word: "color",
        columns: ["color", "main_color", "trim_color"],
        spoken: &["red", "blue", "green", "black", "white"],
        styles: [Style::Upper, Style::Title, Style::Listed(&["RD", "BU", "GN", "BK", "WH"])],
    },
];

/// Names of the columns that hold a month.
pub(super) const MONTH_COLUMNS: [&str; 3] = ["month", "start_month", "end_month"];

/// Words of queries, observations, errors, questions and thoughts. Beyond what scripts write, a
/// policy can only wander into words that the executor says.
pub(super) const SPEECH: &str = "\
    SELECT DISTINCT FROM WHERE AND JOIN ON COUNT SUM AVG MAX MIN LIMIT NULL \
    id no more row rows error such column table near syntax incomplete input ambiguous name \
    misuse of aggregate function not allowed only is expected one statement query too complex \
    question evidence how many total average largest smallest list of with where is \
    and whose linked to \
    check again guess look use now like";

/// Tags of the markup.
pub(super) const TAGS: &str = "\
    <think> <intermediate_sql> <result> <final_sql> \
    </think> </intermediate_sql> </result> </final_sql>";

/// Punctuation of questions, queries and values.
pub(super) const PUNCTUATION: &str = "( ) : , . ' - / * = ? |";
