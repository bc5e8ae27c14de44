"""Go templates: what text/template and docker's functions give for the same source."""

from typing import Any

import pytest

from naru.cli.template.lex import TemplateError
from naru.cli.template.run import Template
from naru.cli.template.values import GoMap, Row

DATA: dict[str, Any] = {
    "Id": "abc",
    "Name": "/web",
    "State": {"Running": True, "ExitCode": 0, "Health": None},
    "Config": {"Env": ["A=1", "B=2"], "Labels": {"b": "2", "a": "1"}, "Cmd": None},
    "NetworkSettings": {"Ports": {"80/tcp": [{"HostIp": "0.0.0.0", "HostPort": "8080"}]}},
    "Size": 1.5,
    "Mounts": [{"Type": "bind", "Source": "/a"}, {"Type": "volume", "Source": "/b"}],
}


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("plain", "plain"),
        ("{{.Name}}", "/web"),
        ("{{ .Name }}!", "/web!"),
        ("a {{- .Name -}} b", "a/webb"),
        ("{{/* nothing */}}x", "x"),
        ("{{- /* nothing */ -}} x", "x"),
        ("{{.State.Running}} {{.State.ExitCode}} {{.Size}}", "true 0 1.5"),
        ("{{.State.Health}} {{.Config.Cmd}} {{.Config.Env}}", "<nil> [] [A=1 B=2]"),
        ("{{.Config.Labels}}{{.Config.Labels.a}}{{.Config.Labels.zz}}", "map[a:1 b:2]1<no value>"),
        ('{{index .Config.Labels "a"}}{{index .Config.Labels "zz"}}', "1"),
        ('{{(index (index .NetworkSettings.Ports "80/tcp") 0).HostPort}}', "8080"),
        ('{{index .Config.Env 1 | printf "%s!"}}', "B=2!"),
        ("{{json .Config.Labels}}", '{"a":"1","b":"2"}'),
        ('{{json "<&>"}}', '"<&>"'),
        ("{{range .Mounts}}{{.Type}}={{.Source}};{{end}}", "bind=/a;volume=/b;"),
        ("{{range $i, $m := .Mounts}}{{$i}}{{$m.Type}}{{$.Id}} {{end}}", "0bindabc 1volumeabc "),
        ("{{range $k, $v := .Config.Labels}}{{$k}}={{$v}},{{end}}", "a=1,b=2,"),
        ("{{range .Config.Cmd}}x{{else}}none{{end}}", "none"),
        ("{{range .Mounts}}{{if eq .Type \"volume\"}}{{break}}{{end}}{{.Type}}{{end}}", "bind"),
        ("{{range .Mounts}}{{if eq .Type \"bind\"}}{{continue}}{{end}}{{.Type}}{{end}}", "volume"),
        ("{{if .State.Running}}up{{else}}down{{end}}", "up"),
        ("{{if .State.Health}}a{{else if .State.ExitCode}}b{{else}}c{{end}}", "c"),
        ("{{with .State}}{{.Running}}{{end}}", "true"),
        ("{{with .State.Health}}x{{else}}no health{{end}}", "no health"),
        ("{{$x := .Name}}{{$x}}{{$x = \"y\"}}{{$x}}", "/weby"),
        ("{{$n := 0}}{{range .Mounts}}{{$n = len .Type}}{{end}}{{$n}}", "6"),
        ('{{join .Config.Env ","}} {{split "a-b" "-"}} {{len .Config.Env}}', "A=1,B=2 [a b] 2"),
        ('{{upper "ab"}} {{lower "AB"}} {{title "ab cd"}}', "AB ab Ab Cd"),
        ('{{slice "abcdef" 1 3}}|{{truncate .Name 2}}|{{pad "x" 1 2}}|', "bc|/w| x  |"),
        ('{{eq 1 1}} {{ne "a" "b"}} {{lt 1 2}} {{eq 3 1 2 3}}', "true true true true"),
        ("{{and 1 0}} {{or 0 2}} {{not true}}", "0 2 false"),
        ('{{print "a" 1 2 "b"}}|{{println "a" 1}}', "a1 2b|a 1\n"),
        ('{{printf "%-5s|%5d|%05d|%q|%v|%t|%x|%.2f|%%" "ab" 7 7 "q" 3 true 255 1.5}}',
         'ab   |    7|00007|"q"|3|true|ff|1.50|%'),
        ('{{printf "%d" "x"}}', "%!d(string=x)"),
        ("{{html \"<a>\"}}", "&lt;a&gt;"),
        ("{{`raw \\n`}} {{'a'}} {{\"\\u00e9\\x41\"}}", "raw \\n 97 éA"),
        ("{{.ID}}", "abc"),
    ],
)  # fmt: skip
def test_gives_what_go_gives(source: str, text: str) -> None:
    assert Template(source).execute(DATA) == text


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("{{.ID", "template: :1: unclosed action"),
        ("{{end}}", "template: :1: unexpected {{end}}"),
        ("{{if .A}}", "template: :1: unexpected EOF"),
        ("{{nope .A}}", 'template: :1: function "nope" not defined'),
        ("{{$x}}", 'template: :1: undefined variable "$x"'),
        ("{{}}", "template: :1: missing value for command"),
        ('{{"a}}', "template: :1: unterminated quoted string"),
        ('{{define "x"}}{{end}}', "template: :1: {{define}} has no place in a format"),
    ],
)
def test_refuses_what_cannot_be_parsed(source: str, message: str) -> None:
    with pytest.raises(TemplateError) as caught:
        Template(source)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("{{.Foo}}", 'template: :1:2: executing "" at <.Foo>: map has no entry for key "Foo"'),
        (
            "ab\nc {{.State.Foo}}",
            'template: :2:4: executing "" at <.State.Foo>: map has no entry for key "Foo"',
        ),
        (
            "{{index .Config.Env 9}}",
            'template: :1:2: executing "" at <index .Config.Env 9>: error calling index: '
            "index out of range: 9",
        ),
    ],
)
def test_says_where_the_data_does_not_fit(source: str, message: str) -> None:
    with pytest.raises(TemplateError) as caught:
        Template(source).execute(DATA)
    assert str(caught.value) == message


def test_a_row_has_fields_and_methods() -> None:
    row = Row(
        "*formatter.X", {"ID": lambda: "a<b", "Size": lambda: 3}, {"Label": lambda key: key + "!"}
    )
    text = Template('{{.ID}} {{.Label "k"}} {{.Size}} {{json .}} {{json .ID}}').execute(row)
    assert text == 'a<b k! 3 {"ID":"a\\u003cb","Size":3} "a<b"'
    with pytest.raises(TemplateError, match=r"can't evaluate field Foo in type \*formatter.X"):
        Template("{{.Foo}}").execute(row)


def test_a_map_has_no_wrong_keys() -> None:
    assert Template("{{.zz}}{{if .zz}}x{{end}}").execute(GoMap({"a": "b"})) == "<no value>"
