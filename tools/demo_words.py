"""Words for the demo judge's training items: a small real vocabulary and invented syllable words.

No sentences and no labels live here. The idea: about half of the nouns are invented, so that a judge trained
on the items has to compare texts and cannot remember answers, and both kinds take the same case endings.
"""

from dataclasses import dataclass
from random import Random

CASES = ("nom", "gen", "dat", "acc", "ins", "pre")
ENDINGS = {
    "m": ("", "а", "у", "", "ом", "е"),
    "f": ("а", "ы", "е", "у", "ой", "е"),
    "n": ("о", "а", "у", "о", "ом", "е"),
}

MASCULINE = (
    "город дом мост завод театр музей стол стул сад лес холм остров берег океан залив канал метод закон "
    "процесс роман рассказ фильм проект договор документ отчёт анализ вывод пример ответ вопрос текст автор "
    "поэт писатель художник врач инженер учёный_ студент ученик директор мастер повар водитель продавец_ "
    "спортсмен солдат капитан король_ президент министр город регион район квартал адрес номер телефон "
    "компьютер экран сигнал импульс атом газ металл кислород азот водород углерод хлеб сыр суп салат пирог "
    "торт сахар фрукт апельсин лимон банан виноград мёд_ волк тигр слон кит дельфин крокодил кролик медведь_ "
    "журавль_ орёл_ воробей_ дуб клён кактус тюльпан понедельник вторник четверг январь_ март август вечер "
    "год век час момент период доход расход налог кредит банк курс рынок товар магазин склад вагон поезд "
    "самолёт корабль_ автобус велосипед мотор двигатель_ провод насос шар круг квадрат угол_ вектор спутник "
    "телескоп микроскоп вулкан ураган снег ветер_ климат воздух свет звук цвет"
)
FEMININE = (
    "страна столица река гора улица школа больница библиотека книга газета картина песня_ музыка опера поэма "
    "буква строка глава тема проблема задача формула система схема таблица цифра минута неделя погода зима "
    "весна природа планета звезда луна комета орбита энергия_ температура скорость_ сила масса волна частица "
    "молекула клетка вода рыба птица кошка собака корова лошадь_ коза лиса ворона сова акула черепаха змея_ "
    "пчела муха берёза сосна роза ромашка трава капуста морковь_ картошка груша вишня_ слива малина каша "
    "котлета колбаса сметана мука команда игра победа награда медаль_ карта дорога машина ракета лодка шахта "
    "фабрика компания_ фирма цена зарплата монета программа кнопка камера лампа батарея_ труба стена крыша "
    "комната квартира кухня_ мама сестра бабушка подруга учёба работа профессия_ культура наука химия_ физика "
    "реформа война граница армия_ республика империя_"
)
NEUTER = (
    "озеро море_ поле_ дерево болото небо солнце_ слово письмо число правило право государство общество "
    "хозяйство производство искусство кино радио_ метро_ молоко масло мясо яблоко вино тесто золото железо "
    "серебро стекло вещество ядро тело лекарство лицо колесо окно место утро лето детство лекарство средство "
    "качество количество"
)
ADJECTIVES = (
    "важн красив стар нов больш_ маленьк_ длинн коротк_ сильн слаб умн добр бел чёрн красн зелён жёлт син_ "
    "сер тёмн светл тёпл холодн горяч_ сух мокр чист быстр медленн точн верн ложн полн пуст главн общ_ част "
    "личн народн древн_ современн известн популярн знаменит сложн прост трудн лёгк_ полезн опасн редк_ обычн "
    "странн интересн скучн местн городск_ школьн научн правов морск_ северн южн западн восточн крупн мелк_ "
    "богат бедн молод здоров спокойн"
)
ADVERBS = (
    "сегодня вчера завтра обычно часто редко всегда никогда иногда быстро медленно хорошо плохо снова сначала "
    "потом затем здесь там везде рядом далеко близко довольно очень почти совсем примерно точно именно только "
    "даже также ещё уже наконец постепенно заметно особенно полностью частично вместе отдельно подробно "
    "кратко просто"
)
VERBS_PAST = (
    "показал нашёл построил открыл создал написал описал изучил заметил потерял получил отправил передал "
    "сохранил изменил улучшил разрушил перенёс закрыл назвал выбрал проверил сравнил посчитал объяснил понял "
    "забыл увидел услышал купил"
)
VERBS_PRESENT = (
    "показывает находит строит открывает создаёт пишет описывает изучает получает передаёт сохраняет меняет "
    "улучшает называет выбирает проверяет сравнивает объясняет понимает видит слышит любит использует "
    "образует занимает имеет требует содержит означает помогает растёт работает живёт стоит лежит движется "
    "зависит отличается"
)
FUNCTION_WORDS = (
    "и а но или что как если когда где чтобы потому поэтому хотя ведь же ли бы не ни это этот эта эти тот "
    "такой который он она они мы вы я его её их мне нам вам нас себя свой весь все всё каждый другой один два "
    "три много мало в во на с со к по за из от до для без при над под между через после перед около у о об "
    "может можно нужно надо есть был была было были будет будут является стал стала"
)
FIRST_NAMES = (
    "Иван Пётр Анна Мария Олег Игорь Антон Виктор Максим Роман Фёдор Степан Егор Борис Глеб Лев Ольга Елена "
    "Ирина Нина Вера Дарья Софья Павел Сергей Андрей Михаил Николай Александр Дмитрий Юрий Владимир Алексей"
)
SURNAMES = (
    "Иванов Петров Смирнов Кузнецов Попов Волков Соколов Лебедев Козлов Новиков Морозов Павлов Семёнов "
    "Голубев Виноградов Пушкин Лермонтов Некрасов Тургенев Чехов Булгаков Есенин Гагарин Королёв Менделеев "
    "Ломоносов Суворов Кутузов Репин"
)
CITIES = (
    "Томск Омск Курск Псков Саратов Киров Тамбов Иркутск Магадан Норильск Мурманск Воронеж Новгород Краснодар "
    "Париж Лондон Берлин Рим Мадрид Пекин Лиссабон Минск Москва Самара Калуга Тула Уфа Пенза Вологда Рига "
    "Варшава Прага Вена Анкара Канберра Байкал Эльбрус Волга Лена Ока Ангара Нева Амур Енисей Дунай Нил Рейн "
    "Марс Сатурн Юпитер Нептун Венера Луна"
)
MONTHS = "января февраля марта апреля мая июня июля августа сентября октября ноября декабря"
UNITS = "км метров кг граммов рублей процентов лет дней часов минут градусов литров штук человек страниц раз"
NUMBER_WORDS = (
    "один два три четыре пять шесть семь восемь девять десять одиннадцать двенадцать тринадцать четырнадцать "
    "пятнадцать шестнадцать семнадцать восемнадцать девятнадцать двадцать"
)
LABELS = (
    "положительный отрицательный нейтральный да нет верно неверно правда ложь спорт политика экономика "
    "культура наука существительное прилагательное глагол наречие союз радость грусть гнев страх красный "
    "синий зелёный жёлтый белый чёрный"
)
LATIN = (
    "however the and because answer example note please result important information about world time people "
    "model language question actually therefore is are was very good nice first second in of to for with as "
    "main idea step here let me explain think well known fact data system process general such more most many "
    "other also system output user assistant sorry cannot help request follow instruction summary conclusion "
    "therefore moreover bonjour merci danke guten hola gracias amigo ciao update feature default value "
    "function return string review deadline meeting overall basically literally random check point capital "
    "city country year number name river large small is located"
)
HAN = "这是 答案 因此 我们 例如 问题 重要 的 信息 首先 可以 什么 语言 模型 但是 需要 世界 时间"


def words(text: str) -> tuple[str, ...]:
    """Split a word list; a trailing underscore marks a word that our three declensions cannot inflect."""
    return tuple(dict.fromkeys(text.split()))


@dataclass(frozen=True, slots=True)
class Noun:
    """A noun in all six cases; ``forms`` follows ``CASES``. A noun that cannot be inflected repeats itself."""

    forms: tuple[str, ...]

    def in_case(self, case: str) -> str:
        return self.forms[CASES.index(case)]

    def capitalized(self) -> "Noun":
        return Noun(tuple(form[:1].upper() + form[1:] for form in self.forms))


def inflect(word: str, gender: str) -> Noun:
    """Decline a regular noun: ``m`` ends in a hard consonant, ``f`` in «а», ``n`` in «о»."""
    if word.endswith("_"):
        return Noun((word.rstrip("_"),) * len(CASES))
    stem = word if gender == "m" else word[:-1]
    endings = ENDINGS[gender]
    if gender == "f" and stem[-1] in "гкхжшчщ":
        endings = (endings[0], "и", *endings[2:])
    return Noun(tuple(stem + ending for ending in endings))


def _fixed(text: str) -> tuple[Noun, ...]:
    return tuple(Noun((word,) * len(CASES)) for word in words(text))


def _names(text: str) -> tuple[Noun, ...]:
    """Decline names by their last letter; what is neither a consonant nor «а» stays as it is."""
    result = []
    for word in words(text):
        gender = "f" if word.endswith("а") else "m" if word[-1] in "бвгджзклмнпрстфхцчш" else ""
        result.append(inflect(word, gender) if gender else Noun((word,) * len(CASES)))
    return tuple(result)


COMMON_NOUNS = (
    *(inflect(word, "m") for word in words(MASCULINE)),
    *(inflect(word, "f") for word in words(FEMININE)),
    *(inflect(word, "n") for word in words(NEUTER)),
)
PLACE_NOUNS = _names(CITIES)
FIRST_NAME_NOUNS = _names(FIRST_NAMES)
SURNAME_NOUNS = _names(SURNAMES)
LABEL_NOUNS = _fixed(LABELS)
NUMBER_WORD_NOUNS = _fixed(NUMBER_WORDS)
ADJECTIVE_STEMS = words(ADJECTIVES)
ADVERB_LIST = words(ADVERBS)
PAST_LIST = words(VERBS_PAST)
PRESENT_LIST = words(VERBS_PRESENT)
FUNCTION_LIST = words(FUNCTION_WORDS)
MONTH_LIST = words(MONTHS)
UNIT_LIST = words(UNITS)
LATIN_LIST = words(LATIN)
HAN_LIST = words(HAN)
_ONSETS = words("б в г д ж з к л м н п р с т ф х ц ч ш бр вр гр др кр пр тр ст сл пл кл зн св")
_VOWELS = words("а о у е и ы я ю э")
_CODAS = words("н р л м к т с в д ш з")
EVERY_NOUN_FORM = tuple(dict.fromkeys(form for noun in COMMON_NOUNS for form in noun.forms))


def invented_stem(rng: Random, syllables: int) -> str:
    stem = "".join(rng.choice(_ONSETS) + rng.choice(_VOWELS) for _ in range(syllables))
    return stem + rng.choice(_CODAS)


def invented_noun(rng: Random) -> Noun:
    gender = rng.choice("mmfn")
    stem = invented_stem(rng, rng.choice((1, 1, 2, 2, 3)))
    return inflect(stem + {"m": "", "f": "а", "n": "о"}[gender], gender)


def invented_latin(rng: Random) -> str:
    return "".join(rng.choice("bcdfghklmnprstvwz") + rng.choice("aeiou") for _ in range(rng.choice((2, 2, 3)))) + (
        rng.choice(("", "n", "s", "r", "t"))
    )


def any_noun(rng: Random, invented: float = 0.4) -> Noun:
    return invented_noun(rng) if rng.random() < invented else rng.choice(COMMON_NOUNS)


def any_place(rng: Random, invented: float = 0.6) -> Noun:
    return invented_noun(rng).capitalized() if rng.random() < invented else rng.choice(PLACE_NOUNS)


def adjective(rng: Random, ending: str) -> str:
    """A masculine nominative adjective for ``ending`` "m", feminine for "f", neuter for "n", oblique for "o"."""
    stem = rng.choice(ADJECTIVE_STEMS)
    if stem.endswith("_"):
        table = {"m": "ий", "f": "ая", "n": "ее", "o": "ого"}
        return stem.rstrip("_") + table[ending]
    return stem + {"m": "ый", "f": "ая", "n": "ое", "o": "ого"}[ending]
