//! Every recipe that ships is one that can be run: read without an error and without a warning.

use std::path::Path;

use stepwell_engine::recipe::Recipe;

#[test]
fn every_recipe_in_the_repository_reads_without_a_warning() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../recipes");
    let mut seen = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let checked = Recipe::load(&path, &[]).unwrap_or_else(|errors| {
            let lines: Vec<String> = errors.iter().map(ToString::to_string).collect();
            panic!("{}", lines.join("\n"))
        });
        assert!(checked.warnings.is_empty(), "{:?}", checked.warnings);
        seen += 1;
    }
    assert!(seen >= 4, "the recipes have gone: {seen}");
}
