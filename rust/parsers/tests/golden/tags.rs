//! Calls whose values have no quotes, or their own.

use streamcore_parsers::ToolFormat;

use crate::{Cases, check};

const QWEN3_XML: Cases<'_> = &[
    (
        "<tool_call>\n<function=weather>\n<parameter=city>\nOslo\n</parameter>\n<parameter=days>\n3\n</parameter>\n<parameter=exact>\nTrue\n</parameter>\n</function>\n</tool_call>",
        &["call weather {\"city\":\"Oslo\",\"days\":3,\"exact\":true}"],
    ),
    (
        "I look.\n\n<tool_call>\n<function=weather>\n<parameter=city>\n\n a \"b\"\\\n<b> </parameter\n\n</parameter>\n<parameter=where>\n{\"a\": [1]}\n</parameter>\n</function>\n</tool_call>\n",
        &[
            "content I look.\n\n",
            "call weather {\"city\":\"\\n a \\\"b\\\"\\\\\\n<b> </parameter\\n\",\"where\":{\"a\": [1]}}",
        ],
    ),
    (
        "<tool_call>\n<function=now>\n</function>\n</tool_call>\n<tool_call>\n<function=now></function></tool_call>",
        &["call now {}", "call now {}"],
    ),
    (
        "<function=weather><parameter=city></parameter><parameter=days>three</parameter></function>",
        &["call weather {\"city\":\"\",\"days\":\"three\"}"],
    ),
    (
        "<tool_call><function=weather><parameter=where>null</parameter><parameter=new key>5</parameter></function></tool_call>",
        &["call weather {\"where\":null,\"new key\":\"5\"}"],
    ),
    (
        "<tool_call><function=now></function>\n<function=now></function></tool_call>.",
        &["call now {}", "call now {}", "content ."],
    ),
    // The model forgets to close: the function, or all.
    (
        "<tool_call><function=weather><parameter=city>x</parameter></tool_call>.",
        &["call weather {\"city\":\"x\"}", "content ."],
    ),
    ("<tool_call><function=weather><parameter=city>x</parameter>", &["call weather {\"city\":\"x\"}"]),
    // Malformed: no name, no tag behind it, no function, text between the tags, a value
    // without an end.
    (
        "<tool_call><function=></function></tool_call>",
        &["content <tool_call><function=></function></tool_call>"],
    ),
    (
        "<tool_call><function=now>text</function></tool_call>",
        &["content <tool_call><function=now>text</function></tool_call>"],
    ),
    ("<tool_call>\n</tool_call>", &["content <tool_call>\n</tool_call>"]),
    (
        "<tool_call><function=weather><parameter=days>1</parameter>text</function></tool_call>.",
        &["call weather {\"days\":1text</function> malformed", "content ."],
    ),
    (
        "<tool_call><function=weather><parameter=city>x</function></tool_call>",
        &["call weather {\"city\":\"x</function></tool_call> truncated"],
    ),
];

/// A value without quotes has the type of its schema, and keeps its own newlines.
#[test]
fn qwen3_xml() {
    check(ToolFormat::Qwen3Xml, QWEN3_XML);
}

const GLM47: Cases<'_> = &[
    (
        "<tool_call>weather<arg_key>city</arg_key><arg_value>Oslo</arg_value><arg_key>days</arg_key><arg_value>3</arg_value></tool_call>",
        &["call weather {\"city\":\"Oslo\",\"days\":3}"],
    ),
    (
        "Hm.\n<tool_call>weather\n<arg_key>city</arg_key>\n<arg_value> a\n</arg_value>\n</tool_call>\n<tool_call>now\n</tool_call>",
        &["content Hm.\n", "call weather {\"city\":\" a\\n\"}", "call now {}"],
    ),
    (
        "<tool_call>weather<arg_key>limits</arg_key><arg_value>[1, \"</tool_call>\"]</arg_value></tool_call>",
        &["call weather {\"limits\":[1, \"</tool_call>\"]}"],
    ),
    ("<tool_call>two words</tool_call>", &["content <tool_call>two words</tool_call>"]),
    ("<tool_call></tool_call>", &["content <tool_call></tool_call>"]),
    (
        "<tool_call>weather<arg_key>city</arg_key>Oslo</tool_call>x",
        &["call weather {<arg_key>city</arg_key>Oslo malformed", "content x"],
    ),
    ("<tool_call>weather<arg_value>", &["content <tool_call>weather<arg_value>"]),
    ("<tool_call>weather<arg_key>days</arg_key><arg_value>3", &["call weather {\"days\": truncated"]),
];

/// The same between pairs of tags, where a value is taken as it stands.
#[test]
fn glm47() {
    check(ToolFormat::Glm47, GLM47);
}

const GEMMA4: Cases<'_> = &[
    (
        "<|tool_call>call:weather{city:<|\"|>Os\"lo\\ {,}<|\"|>,days:3,exact:true}<tool_call|>",
        &["call weather {\"city\":\"Os\\\"lo\\\\ {,}\",\"days\":3,\"exact\":true}"],
    ),
    (
        "Hm.<|tool_call>call:weather{where:{a:[1,<|\"|>b<|\"|>,[],{}],c:null},limits:[ ]}<tool_call|><|tool_call>call:now{}<tool_call|>\n",
        &[
            "content Hm.",
            "call weather {\"where\":{\"a\":[1,\"b\",[],{}],\"c\":null},\"limits\":[]}",
            "call now {}",
        ],
    ),
    (
        "<|tool_call>call:weather{ <|\"|>city<|\"|> : Oslo , days : x }",
        &["call weather {\"city\":\"Oslo\",\"days\":\"x\"}"],
    ),
    (
        "<|tool_call>call:weather{city:42,other:42}<tool_call|>",
        &["call weather {\"city\":\"42\",\"other\":42}"],
    ),
    ("<|tool_call>weather{}<tool_call|>", &["content <|tool_call>weather{}<tool_call|>"]),
    ("<|tool_call>call:{}<tool_call|>", &["content <|tool_call>call:{}<tool_call|>"]),
    ("<|tool_call>call:now{a:1]}<tool_call|>x", &["call now {\"a\":1]} malformed", "content x"]),
    ("<|tool_call>call:now{a:[1,]}<tool_call|>x", &["call now {\"a\":[1]} malformed", "content x"]),
    ("<|tool_call>call:now{a}<tool_call|>x", &["call now {a} malformed", "content x"]),
    ("<|tool_call>call:weather{city:<|\"|>Oslo", &["call weather {\"city\":\"Oslo truncated"]),
];

const FUNCTION_GEMMA: Cases<'_> = &[
    (
        "<start_function_call>call:weather{city:<escape>Oslo<escape>,days:3}<end_function_call>",
        &["call weather {\"city\":\"Oslo\",\"days\":3}"],
    ),
    (
        "<start_function_call>call:now{}<end_function_call><start_function_call>call:now{}<end_function_call>",
        &["call now {}", "call now {}"],
    ),
];

/// Strings without escapes become JSON, whatever is in them.
#[test]
fn gemma() {
    check(ToolFormat::Gemma4, GEMMA4);
    check(ToolFormat::FunctionGemma, FUNCTION_GEMMA);
}
