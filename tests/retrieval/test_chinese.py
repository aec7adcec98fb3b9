from __future__ import annotations

import threading

import pytest
from opencc import OpenCC
from samples import run_python

from moli.retrieval.chinese import mainland_word, parts_of, to_simplified

TEXTS = [
    "图书馆每天晚上九点关门，周一休馆。",
    "网络故障由信息中心负责，分机 8100。",
    "头发干了以后，再发展干部；皇后在后面，面条在里面。",
    "卫生部叙述了台风之后的台阶。他说着著名的著作。",
    "The word 图书馆 in an English text，以及一个 USB 接口。",
]


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("script", ["s2t", "s2tw", "s2hk"])
def test_every_traditional_script_becomes_the_simplified_text(text: str, script: str) -> None:
    traditional = OpenCC(script).convert(text)
    assert traditional != text
    assert to_simplified(traditional) == to_simplified(text) == text


def test_other_text_stays_as_it_is() -> None:
    assert (
        to_simplified("No Chinese\0 here, ちょっと Ω \ud800")
        == "No Chinese\0 here, ちょっと Ω \ud800"
    )


def test_what_cannot_be_encoded_does_not_end_the_text() -> None:
    assert to_simplified("圖\0書\ud800館") == "图 书 馆"


@pytest.mark.parametrize(
    ("taiwan", "mainland"),
    [
        ("軟體", "软件"), ("資訊", "信息"), ("網路", "网络"), ("滑鼠", "鼠标"), ("程式", "程序"),
        ("影片", "视频"), ("印表機", "打印机"), ("硬碟", "硬盘"), ("伺服器", "服务器"),
        ("計程車", "出租车"), ("簡訊", "短信"), ("螢幕", "屏幕"), ("資料庫", "数据库"),
    ],
)  # fmt: skip
def test_words_of_both_regions_become_one(taiwan: str, mainland: str) -> None:
    assert mainland_word(to_simplified(taiwan)) == mainland_word(mainland) == mainland


def test_a_word_of_one_region_in_the_characters_of_the_other_is_the_same_word() -> None:
    assert mainland_word("资讯") == mainland_word("信息") == "信息"


def test_threads_share_the_tables() -> None:
    traditional = OpenCC("s2tw").convert(TEXTS[0])
    results: set[str] = set()

    def convert() -> None:
        for _ in range(300):
            results.add(to_simplified(traditional))

    threads = [threading.Thread(target=convert) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == {TEXTS[0]}


def test_a_compound_of_whole_words_is_split_and_no_other_word() -> None:
    assert parts_of("公司总部") == ["公司", "总部"]
    assert parts_of("分机号") == ["分机号"]
    assert parts_of("上海") == ["上海"]


@pytest.mark.slow
def test_the_tables_are_loaded_for_chinese_only() -> None:
    code = """
        import sys
        from moli.retrieval.tokens import key_terms, tokenize
        tokenize("No Chinese"), key_terms("What is it?")
        print("opencc" in sys.modules, "jieba" in sys.modules)
        tokenize("中文")
        print("opencc" in sys.modules, "jieba" in sys.modules)
    """
    assert run_python(code) == "False False\nTrue True\n"
