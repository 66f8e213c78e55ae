//! Settings of the `sql` environment.

use stepwell_env::sql::config::Limits;

use super::environment::Source;
use super::macros::{choices, settings};
use super::prompt::PromptText;
use super::setting::Limit;

choices! {
    /// How the verdict's part `explore` is counted (ReEx-SQL names the term, not its formula).
    pub enum Explore {
        /// 1 where some intermediate query ran without error and returned a row, else 0.
        Any = "any",
        /// Share of the intermediate queries that ran, repeats not counted; 0 where there are none.
        Fraction = "fraction",
        /// Share of gold's names and values that appear in intermediate queries and results.
        Coverage = "coverage",
    }
}

choices! {
    /// How the verdict's part `entity` compares the tables and columns of answer and gold.
    pub enum Entity {
        /// Size of the intersection by size of the union.
        Jaccard = "jaccard",
        /// 1 where the sets are equal, else 0.
        AllOrNothing = "all_or_nothing",
    }
}

choices! {
    /// How the verdict's part `exact` compares the answer with gold.
    pub enum Exact {
        /// Text, apart from case and white space.
        String = "string",
        /// Parsed trees.
        Ast = "ast",
    }
}

choices! {
    /// What to do on a machine that cannot confine the process that runs queries.
    pub enum Sandbox {
        /// Refuse to run.
        Full = "full",
        /// Go on with what the machine offers; the run is marked so.
        Weak = "weak",
    }
}

choices! {
    /// How rows are compared where gold has no order (DECISIONS 11).
    pub enum ResultCompare {
        /// Each row as often as gold has it.
        Multiset = "multiset",
        /// Duplicates count once.
        Set = "set",
    }
}

settings! {
    /// How often a scripted demonstration follows which script.
    pub struct Mix {
        /// Share of careful demonstrations of questions that count.
        careful_counting: f64 = 0.70, Limit::Real(0.0, 1.0);
        /// Share of careful demonstrations of all other questions.
        careful_otherwise: f64 = 0.25, Limit::Real(0.0, 1.0);
        /// Among the careless: guesses at once. The three careless shares sum to 1.
        blind: f64 = 0.55, Limit::Real(0.0, 1.0);
        /// Among the careless: looks at a column that does not matter, then guesses.
        useless: f64 = 0.35, Limit::Real(0.0, 1.0);
        /// Among the careless: looks as the careful script does, then answers something else.
        slip: f64 = 0.10, Limit::Real(0.0, 1.0);
    }
}

settings! {
    /// Generated databases and questions: nothing to download, and held-out databases are unseen.
    pub struct World {
        /// 1: one condition. 2: two conditions on one table. 3: a condition on a joined table.
        difficulty: usize = 1, Limit::Whole(1, 3);
        /// Databases to train on.
        train_databases: usize = 400, Limit::Whole(1, 100_000);
        /// Databases never trained on, for decisions during development.
        development_databases: usize = 60, Limit::Whole(0, 100_000);
        /// Databases never trained on, for the final evaluation.
        held_out_databases: usize = 60, Limit::Whole(0, 100_000);
        /// Questions per database; one with fewer distinct ones asks those.
        questions: usize = 10, Limit::Whole(1, 50);
        /// Seed of the world, apart from the run's, so that runs with other seeds share a world.
        seed: u64 = 1, Limit::Whole(0, u64::MAX);
        tables {
            /// How demonstrations are worked.
            mix: Mix = Mix::default();
        }
    }
}

/// One source of defaults, for recipes and for what reads tasks without one.
const MOST: Limits = Limits::DEFAULT;

settings! {
    /// What one query may cost. All but the last two are counts, so a query that they refuse once
    /// is refused always.
    pub struct QueryLimits {
        /// Instructions of SQLite's virtual machine; one second is about 5e7.
        steps_max: u64 = MOST.steps_max, Limit::Whole(1_000, 1_000_000_000);
        /// Rows of a result.
        rows_max: usize = MOST.rows_max, Limit::Whole(1, 1_000_000);
        /// Bytes of a result.
        result_bytes_max: usize = MOST.result_bytes_max, Limit::Whole(1_000, 100_000_000);
        /// Bytes of one value or row.
        value_bytes_max: usize = MOST.value_bytes_max, Limit::Whole(1_000, 10_000_000);
        /// Bytes of a query.
        query_bytes_max: usize = MOST.query_bytes_max, Limit::Whole(100, 1_000_000);
        /// Seconds of the processor's time; the kernel counts whole ones, so up to one more passes.
        seconds_max: u64 = MOST.seconds_max, Limit::Whole(1, 3600);
        /// MiB of memory beside what is open.
        memory_mib_max: u64 = MOST.memory_mib_max, Limit::Whole(64, 1_000_000);
    }
}

settings! {
    /// The SQL environment.
    pub struct Sql {
        /// Most exploratory queries that are run in an attempt, before the answer.
        max_interactions: usize = 4, Limit::Whole(0, 1000);
        /// How the verdict's part `explore` is counted.
        explore: Explore = Explore::Fraction, Limit::Any;
        /// How the verdict's part `entity` is counted.
        entity: Entity = Entity::Jaccard, Limit::Any;
        /// How the verdict's part `exact` is decided.
        exact: Exact = Exact::String, Limit::Any;
        /// The verdict's part `exec` where the answer does not run.
        exec_error_penalty: i8 = 0, Limit::Signed(-1, 0);
        /// How rows are compared where gold has no order.
        result_compare: ResultCompare = ResultCompare::Multiset, Limit::Any;
        /// Further derived databases on which a stricter judge compares right answers: the part
        /// `strict` of the verdict, which nothing trains on. 0: there is no such part.
        twins_held_out: usize = 0, Limit::Whole(0, 4);
        /// Most rows an observation shows.
        rows_shown: usize = 3, Limit::Whole(1, 1000);
        /// Most bytes of an observation between its tags.
        observation_bytes_max: usize = 1000, Limit::Whole(64, 1_000_000);
        /// What the policy reads: a text with `{question}` or `{own}`, what the environment itself
        /// would say, in braces. Default: what the environment itself says.
        prompt: Option<PromptText> = None, Limit::Any;
        /// The prompt explains the tags: for models that were not trained on them.
        instructions: bool = false, Limit::Any;
        /// What the process that runs queries must have given away before it reads the first.
        sandbox: Sandbox = Sandbox::Full, Limit::Any;
        with {
            /// Where tasks come from.
            source: Source<World> = Source::default();
        }
        tables {
            /// What one query may cost.
            limits: QueryLimits = QueryLimits::default();
        }
    }
}
