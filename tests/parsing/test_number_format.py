"""Numbers as Excel shows them, against what Excel shows by its documentation and on a screen."""

import datetime

import pytest

from moli.parsing.office.number_format import show_number, show_text

SERIAL = 46095.0  # 2026-03-14, a Saturday


@pytest.mark.parametrize(
    ("number", "code", "shown"),
    [
        (417, "00000", "00417"),
        (82.5, '0.0" kg"', "82.5 kg"),
        (82.5, "0.0 kg", "82.5 kg"),
        (1490, "[$€-407] #,##0.00", "€ 1,490.00"),
        (1490, "#,##0.00 [$€-407]", "1,490.00 €"),
        (-1490, "#,##0.00 [$€-407];[Red]-#,##0.00 [$€-407]", "-1,490.00 €"),
        (1234567.891, "#,##0.00", "1,234,567.89"),
        (1234567, "#,##0,", "1,235"),
        (12345678, '0.0,,"M"', "12.3M"),
        (-5, "0;(0)", "(5)"),
        (-5.5, '_($* #,##0.00_);_($* (#,##0.00);_($* "-"??_);_(@_)', "$ (5.50)"),
        (0, '_($* #,##0.00_);_($* (#,##0.00);_($* "-"??_);_(@_)', "$ -"),
        (0.125, "0.0%", "12.5%"),
        (0.3, "0%", "30%"),
        (0.005, "0%", "1%"),
        (-0.001, "0%", "0%"),
        (2.675, "0.00", "2.68"),
        (12.5, "#.##", "12.5"),
        (0.5, "#.##", ".5"),
        (7, "0.##", "7."),
        (1.5, "# ?/?", "1 1/2"),
        (0.3125, "# ??/??", "5/16"),
        (2, "# ?/?", "2"),
        (2.25, '# ?/4" cups"', "2 1/4 cups"),
        (0.75, "?/?", "3/4"),
        (12345, "0.00E+00", "1.23E+04"),
        (0.00012, "0.0E-0", "1.2E-4"),
        (123456, "##0.0E+0", "123.5E+3"),
        (99999, "0.0E+0", "1.0E+5"),
        (5551234567, "(000) 000-0000", "(555) 123-4567"),
        (123456789, "000-00-0000", "123-45-6789"),
        (150, '[>=100]"high "0;[<10]"low "0;0', "high 150"),
        (5, '[>=100]"high "0;[<10]"low "0;0', "low 5"),
        (50, '[>=100]"high "0;[<10]"low "0;0', "50"),
        (1, '"yes";"yes";"no"', "yes"),
        (0, '"yes";"yes";"no"', "no"),
        (12, ";;;", "12"),
        (3.14, "General", "3.14"),
        (3.14, 'General" m"', "3.14 m"),
        (12, "@", "12"),
        (12, '"No. "0', "No. 12"),
        (3000, '#,##0"元"', "3,000元"),
        (3000, "¥#,##0.00", "¥3,000.00"),
        (3000, "[$¥-804]#,##0.00", "¥3,000.00"),
        (128000, '0!.0,"万"', "12.8万"),
        (489000, '0!.0000"万"', "48.9000万"),
        (98.6, "0.0°", "98.6°"),
        (1e21, "0", "1" + "0" * 21),
        (-12, "0.00", "-12.00"),
    ],
)
def test_numbers(number: float, code: str, shown: str) -> None:
    assert show_number(number, code) == shown


@pytest.mark.parametrize(
    ("number", "code", "shown"),
    [
        (SERIAL, "yyyy-mm-dd", "2026-03-14"),
        (SERIAL, "dd.mm.yyyy", "14.03.2026"),
        (SERIAL, "d mmmm yyyy", "14 March 2026"),
        (SERIAL, "[$-407]d. mmmm yyyy", "14. März 2026"),
        (SERIAL, "[$-40C]dddd d mmm yy", "samedi 14 mars 26"),
        (SERIAL, "[$-de-DE]ddd, d. mmm", "Sa, 14. Mär"),
        (SERIAL, '[$-804]yyyy"年"m"月"d"日"', "2026年3月14日"),
        (SERIAL, '[$-804]yyyy"年"m"月"d"日";@', "2026年3月14日"),
        (SERIAL, "[$-804]aaaa", "星期六"),
        (SERIAL, "[$-41D]d mmmm yyyy", "2026-03-14"),  # Swedish names are not known here.
        (SERIAL, "[$-F800]dddd, mmmm dd, yyyy", "2026-03-14"),
        (SERIAL + 0.75, "m/d/yyyy h:mm AM/PM", "3/14/2026 6:00 PM"),
        (SERIAL + 0.75, "yyyy-mm-dd hh:mm:ss", "2026-03-14 18:00:00"),
        (0.25, "h:mm", "6:00"),
        (0.5 + 61.25 / 86400, "mm:ss.00", "01:01.25"),
        (0.0, "hh:mm:ss", "00:00:00"),
        (30.25 / 24, "[h]:mm", "30:15"),
        (30.25 / 24, "[hh]:mm:ss", "30:15:00"),
        (30.25 / 24, '[h]" h "mm" min"', "30 h 15 min"),
        (90 / 1440, "[mm]:ss", "90:00"),
        (90 / 86400, "[s]", "90"),
        (-1.5 / 24, "[h]:mm", "-1:30"),
        (59.0, "yyyy-mm-dd", "1900-02-28"),
        (61.0, "yyyy-mm-dd", "1900-03-01"),
    ],
)
def test_dates_and_times(number: float, code: str, shown: str) -> None:
    assert show_number(number, code) == shown


def test_days_since_1904() -> None:
    epoch = datetime.datetime(1904, 1, 1)
    assert show_number(0.0, "yyyy-mm-dd", epoch) == "00:00:00"
    assert show_number(1.0, "yyyy-mm-dd", epoch) == "1904-01-02"


def test_texts() -> None:
    assert show_text("417", "@") == "417"
    assert show_text("417", '"ID-"@') == "ID-417"
    assert show_text("n/a", '0.0;-0.0;0;"<"@">"') == "<n/a>"
    assert show_text("n/a", "0.0") == "n/a"
