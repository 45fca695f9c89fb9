"""Sentence frames for the demo judge's training items: tasks, claims, fillers and refusals in Russian.

Frames only, no labels: which frame is used where, and what score follows, is decided in ``demo_items``. A slot
is ``{kind:case}``; ``fill`` replaces every slot by a fresh word, so one frame gives thousands of sentences.
"""

import re
from collections.abc import Mapping
from random import Random

from tools import demo_words as w

_SLOT = re.compile(r"\{(\w+)(?::(\w+))?\}")


def fill(frame: str, rng: Random, given: Mapping[str, w.Noun] | None = None) -> str:
    """Fill a frame's slots: names in ``given`` first, then fresh words by kind. KeyError on an unknown slot."""

    def word(match: re.Match[str]) -> str:
        kind, case = match.group(1), match.group(2) or "nom"
        if given and kind in given:
            return given[kind].in_case(case)
        if kind in ("N", "M", "K"):
            return w.any_noun(rng).in_case(case)
        if kind == "P":
            return w.any_place(rng).in_case(case)
        if kind == "H":
            return rng.choice(w.FIRST_NAME_NOUNS).in_case(case)
        if kind == "S":
            return rng.choice(w.SURNAME_NOUNS).in_case(case)
        if kind == "adj":
            return w.adjective(rng, match.group(2) or "m")
        return str(_PLAIN[kind](rng))

    return _SLOT.sub(word, frame)


def _salad(rng: Random) -> str:
    """A run of real Russian words without grammar: cheap variety that no frame can give."""
    pools = (
        w.EVERY_NOUN_FORM,
        w.FUNCTION_LIST,
        w.PRESENT_LIST,
        w.PAST_LIST,
        w.ADVERB_LIST,
        w.EVERY_NOUN_FORM,
    )
    return " ".join(rng.choice(rng.choice(pools)) for _ in range(rng.randint(3, 8)))


_PLAIN = {
    "year": lambda rng: str(rng.randint(1100, 2030)),
    "num": lambda rng: str(rng.choice((rng.randint(2, 20), rng.randint(2, 999)))),
    "unit": lambda rng: rng.choice(w.UNIT_LIST),
    "month": lambda rng: rng.choice(w.MONTH_LIST),
    "past": lambda rng: rng.choice(w.PAST_LIST),
    "pres": lambda rng: rng.choice(w.PRESENT_LIST),
    "adv": lambda rng: rng.choice(w.ADVERB_LIST),
    "roman": lambda rng: rng.choice(("XIX", "XVIII", "XX", "XVI", "II", "IV", "VII")),
    "salad": _salad,
}

# {Q} is the noun the task is about; the same noun may come back in the answer.
TASKS = (
    "Как называется столица {Q:gen}?",
    "Назови {adj:m} город {Q:gen}.",
    "Кто написал {N:acc} про {Q:acc}?",
    "Кто {past} {Q:acc}?",
    "В каком году {past} {Q:acc}?",
    "Сколько {unit} в {Q:pre}?",
    "Сколько будет {num} умножить на {num}?",
    "Реши задачу: у {H:gen} {num} {N:gen}, у {P:gen} на {num} больше. Сколько всего?",
    "Какой {N} {pres} {Q:acc}? Ответь кратко.",
    "Что такое {Q}? Объясни {adv} в двух предложениях.",
    "Прочитай текст и ответь на вопрос. Текст: {salad}. Вопрос: что {past} {Q}?",
    "Определи тональность отзыва: «{salad}».",
    "К какой части речи относится слово «{Q}»?",
    "Верно ли, что {Q} {pres} {N:acc}?",
    "Выбери правильный вариант: {N}, {M} или {Q}.",
    "Перечисли {N:acc} и {M:acc} из текста про {Q:acc}.",
    "Напиши короткий рассказ о {Q:pre}.",
    "Придумай заголовок для статьи о {Q:pre}.",
    "Сократи текст до одного предложения: {salad}. {salad}.",
    "Извлеки из текста имя и год: {H} {S} {past} {Q:acc} в {year} году.",
    "Исправь ошибки в предложении: «{salad}».",
    "Переведи на русский язык слово, которое значит {Q}.",
    "Подскажи, пожалуйста, где находится {Q}.",
    "Привет! Помоги разобраться: {salad}?",
    "Какая {adj:f} {N} есть в {P:pre}? Назови только одно слово.",
    "Напиши, чем {Q} отличается от {M:gen}.",
    "Дай совет, как выбрать {Q:acc} для {N:gen}.",
    "Продолжи ряд: {num}, {num}, {num}.",
    "Какое число пропущено: {num}, ?, {num}?",
    "{H} спросил: «{salad}?» Что ему ответить?",
)

OPENERS = (
    "Думаю, ", "Насколько я знаю, ", "Скорее всего, ", "Итак, ", "Ответ: ", "Правильный ответ: ",
    "Конечно, ", "Хорошо, ", "Верный ответ — ", "Короткий ответ: ", "По моим данным, ", "Я считаю, что ",
    "Известно, что ", "Значит, ", "**Ответ:** ",
)  # fmt: skip

# A claim about one part: {1} is the claimed word. Numbers and fixed words look the same in every case.
WORD_CLAIMS = (
    "Это {1}.",
    "Ответ: {1}.",
    "Правильный ответ — {1}.",
    "Верный вариант: {1}.",
    "{Q} — это {1}.",
    "Столица {Q:gen} — {1}.",
    "Столица {Q:gen} называется {1}.",
    "Здесь речь идёт о {1:pre}.",
    "Нужно выбрать {1:acc}.",
    "Думаю, это {1}.",
    "Насколько я помню, это {1}, хотя {N} тоже {pres}.",
    "Это сделал {1}.",
    "Эту {N:acc} {past} {1}.",
    "Автор {Q:gen} — {1}.",
    "В тексте говорится про {1:acc}.",
    "{Q} находится в {1:pre}.",
    "Главную роль {adv} играет {1}.",
    "Больше всего подходит {1}.",
    "Это слово означает {1}.",
    "Можно сказать, что {Q} — {1}, и это {adv} важно.",
    "Тональность отзыва: {1}.",
    "По тексту ответ такой: {1}.",
    "Чаще всего {Q:acc} связывают с {1:ins}.",
    "**{1}** — верный ответ.",
    "Ответ — «{1}».",
    "{1}, потому что {salad}.",
    "Да, {1} {pres} {Q:acc}.",
    "{1} — {adj:m} {N} {Q:gen}.",
    "Без {1:gen} тут не обойтись.",
    "Называется это {1}.",
)
NUMBER_CLAIMS = (
    "Это {1}.",
    "Ответ: {1}.",
    "Получается {1}.",
    "В итоге выходит {1}.",
    "Всего получится {1}.",
    "Правильный ответ — {1}.",
    "Это случилось в {1} году.",
    "{Q:acc} {past} в {1} году.",
    "Если посчитать, будет {1}.",
    "{adv} считаем: всего {1} {unit}.",
    "В {Q:pre} примерно {1} {unit}.",
    "Число {1} {pres} {Q:acc}.",
    "Следующее число в ряду — {1}.",
    "Сумма равна {1}.",
    "Итого {1} {unit}.",
    "Расстояние составляет {1} {unit}.",
    "= {1}.",
    "{num} + {num} = {1}.",
    "Значит, у {H:gen} осталось {1}.",
    "На это уйдёт {1} {unit}.",
    "Цена равна {1}, это {adv} {adv}.",
)
PAIR_CLAIMS = (
    "Это {1} и {2}.",
    "Ответ: {1} и {2}.",
    "Ответ: {1}, {2}.",
    "Сначала {1}, потом {2}.",
    "{1} и {2} — вот верный ответ.",
    "Правильно: {1}; {2}.",
    "Здесь {1}, а рядом {2}.",
    "Первое — {1}, второе — {2}.",
    "Имя: {1}, год: {2}.",
    "1. {1}\n2. {2}",
    "- {1}\n- {2}",
    "В тексте названы {1} и {2}.",
    "{Q} — это {1}, а {N} — {2}.",
)
# Words that are named and taken back at once, or belong to the background: {X} is not the claim.
ASIDES = (
    "Это не {X}, хотя многие так думают.",
    "Иногда называют {X:acc}, но это ошибка.",
    "{X} тут ни при чём.",
    "Рядом есть {X}, но речь не о том.",
)
REFERENCES = (
    "{1}", "{1}", "{1}", "{1}", "{1}", "{1}.", "Ответ: {1}", "Это {1}.", "Правильный ответ: {1}.", "{Q} — {1}.",
)  # fmt: skip
PAIR_REFERENCES = (
    "{1} и {2}", "{1}, {2}", "{1}; {2}", "{1}, {2}.", "{1} — {2}", "{1} ({2})", "{1} и {2}.", "Это {1} и {2}.",
    "{Q}: {1}, {2}",
)  # fmt: skip
TRIPLE_REFERENCES = ("{1}, {2}, {3}", "{1}, {2} и {3}", "{1}; {2}; {3}", "{1}, {2}, {3}.")

FILLERS = (
    "{salad}.",
    "{salad}, {salad}.",
    "{salad}: {salad}.",
    "В {year} году {H} {past} {N:acc} {M:gen}.",
    "{adj:m} {N} {adv} {pres} {M:acc}.",
    "Рядом с {P:ins} есть {adj:m} {N}.",
    "{N} {pres} {M:acc}, а {K} {adv} {pres}.",
    "Это важно для {N:gen} и {M:gen}.",
    "Если {N} {pres}, то {M} {adv} {pres}.",
    "{H} {S} {adv} {past} {N:acc}.",
    "Там живёт {num} человек.",
    "Об этом {adv} пишут в {N:pre}.",
    "Без {N:gen} нельзя понять {M:acc}.",
    "Например, {N} {pres} {M:acc}.",
    "Кроме того, {salad}.",
    "Однако {N} {adv} не {pres} {M:acc}.",
    "Поэтому {salad}!",
    "Надеюсь, это помогло.",
    "Если нужно, расскажу подробнее о {N:pre}.",
    "Обращайтесь, если появятся вопросы про {N:acc}.",
    "Эта {N} известна с {roman} века.",
    "Формула проста: x = {num}.",
    "Его {adv} называют «{adj:m} {N}».",
    "А что, если {salad}?",
    "К сожалению, {N} {adv} {past} {M:acc}.",
    "Не могу не сказать про {N:acc}.",
    "Он {past} {num} {unit} за {num} дней.",
    "С {N:ins} и {M:ins} всё {adv} просто.",
    "Сегодня {N} — {adj:m} {M}.",
    "{P} — {adj:m} город на {N:pre}.",
    "Осенью {N} {pres}, весной {M} {pres}.",
    "Здесь {num} {unit}, там {num} {unit}.",
    "Люди {adv} любят {N:acc}, ведь {salad}.",
    "Вот почему {N} {pres} {M:acc} ({salad}).",
    "— {salad}, — сказал {H}.",
    "Надо взять {N:acc}, добавить {M:acc} и {adv} перемешать.",
    "Хороший вопрос!",
    "Попробуйте {adv} проверить {N:acc}.",
)

# Advice and retellings: whole answers to tasks that have no reference, and background elsewhere.
ADVICE = (
    "Скажите, что {salad}, и {adv} предложите {N:acc}.",
    "Поливайте {N:acc} {adv} и уберите {M:acc} подальше от {K:gen}.",
    "Не берите {N:acc} вечером и ложитесь {adv}.",
    "Читайте {N:acc} вслух, повторяйте по строке.",
    "Добавьте в {N:acc} кусочек {M:gen} или немного {K:gen}.",
    "Нужны {N}, {M}, {K} и {adj:m} {N}.",
    "Возьмите {N:acc}, {M:acc} и тёплую {K:acc}.",
    "{N} остановил {M:acc}, и {K:acc} отменили.",
    "Учёные нашли {num} {unit}, которые не боятся {N:gen}.",
    "Они нужны, чтобы на {N:pre} было меньше {M:gen}.",
    "{N} испаряется, собирается в {M:acc} и падает вниз.",
    "{N} легче {M:gen}, потому что {K} {adv} {pres}.",
    "{N} пропал в {M:acc} и сам вернулся в {K:acc}.",
    "Соседи восстановили {adj:f} {N:acc}, и теперь туда ходит весь район.",
    "Попросите {N:acc} подождать и объясните, почему {salad}.",
    "Если вы заняты, {adv} перенесите {N:acc} на {month} {num}.",
    "Лучше {adv} выключить {N:acc} и открыть {M:acc}.",
    "Представьте, что {N} — это {M}: {salad}.",
)

REFUSAL_OPENINGS = (
    "К сожалению,", "Извините,", "Простите,", "Как языковая модель,", "Увы,", "Прошу прощения, но", "Как ИИ-ассистент,",
    "Мне жаль, но", "Боюсь,", "", "", "",
)  # fmt: skip
REFUSAL_CORES = (
    "я не могу помочь с этим запросом",
    "я не могу ответить на этот вопрос",
    "я не могу выполнить эту просьбу",
    "я не имею возможности это сделать",
    "я не обладаю нужной информацией",
    "у меня нет данных об этом",
    "у меня нет доступа к таким сведениям",
    "эта тема мне недоступна",
    "эту тему я не обсуждаю",
    "я не знаю ответа",
    "я не готов говорить о {N:pre}",
    "я не буду отвечать на такой вопрос",
    "мне нельзя обсуждать {N:acc}",
    "такое задание я выполнить не могу",
    "отвечать на это я не стану",
    "помочь с этим не получится",
    "ответить не могу",
    "ничем не могу помочь",
    "обсуждать это я не вправе",
)
REFUSAL_TAILS = (
    "", "", "", "Давайте сменим тему.", "Спросите о чём-нибудь другом.", "Попробуйте переформулировать вопрос.",
    "Обратитесь к специалисту по {N:dat}.", "Лучше поискать в {N:pre}.", "Могу рассказать о {N:pre}.",
    "Надеюсь на понимание.", "Я всего лишь программа.", "Это противоречит моим правилам.", "Чем ещё могу быть полезен?",
)  # fmt: skip
STUBS = (
    "Здесь будет ответ.",
    "Ответ появится позже.",
    "Текст ответа.",
    "Это сложный вопрос, на который нельзя ответить однозначно.",
    "Интересный вопрос! Всё зависит от {N:gen}.",
    "Существует много мнений на этот счёт.",
    "Давайте поговорим о чём-нибудь другом.",
    "Есть темы, на которые лучше не говорить.",
    "Спасибо за вопрос!",
    "Задание принято.",
    "Не знаю.",
    "Затрудняюсь ответить.",
    "Без комментариев.",
    "Как вы и просили, вот ответ:",
    "[ответ]",
    "...",
    "Пожалуйста, уточните вопрос про {N:acc}.",
)
UNKNOWN_CRITERIA = (
    "Литературный стиль", "Грамотность", "Фактическая точность", "Полезность", "Соблюдение формата", "Оригинальность",
    "Логичность", "Уместность {N:gen}", "Качество {N:gen}", "Точность {N:gen} и {M:gen}", "Ясность изложения",
    "Следование инструкции", "{adj:f} {N}", "Оценка {N:gen}", "Общее впечатление",
)  # fmt: skip
