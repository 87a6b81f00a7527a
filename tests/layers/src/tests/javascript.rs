//! Every kind of import of an ES module. `low` must not import `high`.

use super::read;

fn found(low: &str) -> Vec<String> {
    let files = [
        ("page/low/a.js", low),
        ("page/high/b.js", "export const B = 1;\n"),
    ];
    let shown = read("page: low < high", &files)
        .findings
        .into_iter()
        .map(|finding| {
            let finding = finding
                .strip_prefix("page/low/a.js:")
                .unwrap_or(&finding)
                .to_owned();
            finding
                .strip_suffix(" of page/high/b.js: in page, low < high")
                .unwrap_or(&finding)
                .to_owned()
        });
    shown.collect()
}

#[test]
fn every_kind_is_found() {
    for (low, wanted) in [
        ("import { B } from '../high/b.js';", &["1: imports B"][..]),
        (
            "import { B as C, D } from \"../high/b.js\";",
            &["1: imports B", "1: imports D"],
        ),
        ("import B from '../high/b.js'", &["1: imports B"]),
        ("import * as b from '../high/b.js';", &["1: imports all"]),
        (
            "import d, { B } from '../high/b.js';",
            &["1: imports B", "1: imports d"],
        ),
        ("import '../high/b.js';", &["1: imports the module"]),
        (
            "\nimport {\n  B,\n  from,\n} from '../high/b.js';",
            &["2: imports B", "2: imports from"],
        ),
        ("export { B } from '../high/b.js';", &["1: imports B"]),
        ("export * from '../high/b.js';", &["1: imports all"]),
        (
            "const b = await import('../high/b.js');",
            &["1: imports the module"],
        ),
        (
            "`${await import('../high/b.js')}`",
            &["1: imports the module"],
        ),
        (
            "const r = /'/; import { B } from '../high/b.js';",
            &["1: imports B"],
        ),
        (
            "const r = /[/']/; import { B } from '../high/b.js';",
            &["1: imports B"],
        ),
        (
            "const q = a / b; // '\nimport { B } from '../high/b.js';",
            &["2: imports B"],
        ),
        (
            "const q = (a) / b / c; import { B } from '../high/b.js';",
            &["1: imports B"],
        ),
        (
            "const t = `'${`}`}`; import { B } from '../high/b.js';",
            &["1: imports B"],
        ),
        (
            "const o = { import: 1 }; import { B } from './../high/b.js';",
            &["1: imports B"],
        ),
    ] {
        assert_eq!(found(low), wanted, "{low}");
    }
}

#[test]
fn what_is_none() {
    for low in [
        "// import { B } from '../high/b.js';",
        "/* import { B } from '../high/b.js'; */",
        "/** @param {import('../high/b.js').B} b */ function f(b) {}",
        "const s = \"import { B } from '../high/b.js'\";",
        "const t = `import { B } from '../high/b.js'`;",
        "const r = /import '..\\/high\\/b.js'/;",
        "import { B } from '/high/b.js';",
        "import { B } from 'high/b.js';",
        "import { B } from '../high/gone.js';",
        "a.import('../high/b.js');",
        "import.meta.resolve('../high/b.js');",
        "export const a = { B: 'x' }; const from = '../high/b.js';",
        "export { a }; const from = '../high/b.js';",
    ] {
        assert_eq!(found(low), [""; 0], "{low}");
    }
}

#[test]
fn modules_that_import_each_other_are_a_circle() {
    let files = [
        (
            "page/a.js",
            "import { b } from './b.mjs';\nexport const a = 1;\n",
        ),
        (
            "page/b.mjs",
            "import { a } from './a.js';\nexport const b = 1;\n",
        ),
    ];
    assert_eq!(
        read(".: page", &files).findings,
        [
            "page/a.js:1: a circle of 2 files: page/a.js:1 imports b of page/b.mjs; page/b.mjs:1 imports a of page/a.js"
        ]
    );
}

#[test]
fn a_name_is_a_file_without_its_extension() {
    let files = [("page/client.test.js", ""), ("page/client.js", "")];
    assert_eq!(read("page: client client.test", &files).findings, [""; 0]);
}
