"""Slot values: names, products, carriers and places; the `RESERVED_` ones appear in held-out tickets alone.

Companies, carriers and products are invented.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Product:
    """Something Harbor sells, with a believable price range in dollars and a part that can be missing."""

    name: str
    low: int
    high: int
    part: str


def _products(table: str) -> tuple[Product, ...]:
    rows = [line.split(",") for line in table.strip().splitlines()]
    return tuple(Product(name.strip(), int(low), int(high), part.strip()) for name, low, high, part in rows)


def _names(text: str) -> tuple[str, ...]:
    return tuple(text.split())


FIRST_NAMES = _names("""
    Maya Jonas Priya Callum Elena Tariq Hannah Diego Sofia Marcus Aisha Owen Ingrid Felix Naomi Rafael
    Clara Dmitri Leila Patrick Yuki Samuel Greta Omar Beatriz Henry Fatima Lucas Irene Victor Amara Simon
    Nadia George Paula Anton Mei Russell Carmen Isaac Vera Julian Alma Stefan Rosa Damian Helen Kofi Judith
    Andre Tessa Malik Lydia Bruno Wanda Edwin Farah Colin Esther Ruben
""")
RESERVED_FIRST_NAMES = _names(
    "Odette Casper Zainab Lorcan Thea Matteo Ines Bram Sunniva Ravi Delphine Kwame Astrid Emil Noor"
)
LAST_NAMES = _names("""
    Lindqvist Okafor Brandt Mehta Gallagher Rossi Haddad Novak Pereira Whitfield Tanaka Moreau Kowalski
    Ferreira Hughes Adeyemi Larsen Castillo Becker Sharma Doyle Petrov Vance Nakamura Silva Holloway Jensen
    Rahman Weber Ortega Fischer Malone Suzuki Dubois Keane Alvarez Schmidt Bello Iqbal Marsh Conti Hoang
    Reyes Lund Barrett Costa Eriksen Murphy Farouk Klein
""")
RESERVED_LAST_NAMES = _names(
    "Vasquez Thorne Obi Halvorsen Quinn Sato Lemaire Baptiste Winslow Zieli Karim Aldous Strand Pike"
)

CARRIERS = ("Norlane", "SwiftPost", "BlueArc", "Parcelon", "Tidewater Freight", "Cargolite")
RESERVED_CARRIERS = ("Wrenline", "Overland Six", "Kestrel Post")

CITIES = (
    *("Ashford", "Millbrook", "Eastham", "Carver Falls", "Linden", "Port Alder", "Greywater", "Stonebridge"),
    *("Hollis", "Marlow", "Fairmont", "Westerly", "Oakhurst", "Pine Bluff", "Brookhaven", "Clayton"),
    *("Dunmore", "Redfield", "Summerton", "Thornbury"),
)
RESERVED_CITIES = ("Kingsferry", "Larkspur", "Northam", "Silver Creek", "Wexley", "Hartfield", "Belcourt")

MONTHS = _names("January February March April May June July August September October November December")

PRODUCTS = _products("""
oak desk lamp, 38, 79, shade ring
walnut side table, 85, 160, set of screws
electric kettle, 32, 68, limescale filter
standing desk, 240, 420, crossbar
office chair, 120, 260, gas lift
linen duvet set, 70, 140, second pillowcase
travel backpack, 55, 120, chest strap
noise meter, 40, 85, battery cover
coffee grinder, 45, 130, hopper lid
cast iron pan, 35, 75, silicone handle
garden bench, 130, 240, bag of bolts
bread maker, 75, 160, kneading paddle
floor lamp, 60, 140, base plate
baby monitor, 65, 130, wall mount
air purifier, 95, 220, filter
bike rack, 70, 150, locking strap
camping stove, 40, 95, gas hose
bookshelf, 80, 190, bag of shelf pins
hand blender, 30, 70, whisk
wall clock, 25, 60, hanging bracket
yoga mat set, 28, 64, carry strap
robot vacuum, 180, 360, charging dock
kitchen scale, 22, 48, glass plate
tool cabinet, 90, 210, drawer key
rain jacket, 60, 130, hood
ceramic cookware set, 110, 240, small lid
picnic blanket, 26, 52, carry handle
laptop stand, 34, 72, bag of rubber feet
storage bench, 95, 180, hinge set
bathroom shelf, 30, 66, set of wall anchors
""")
RESERVED_PRODUCTS = _products("""
pendant light, 48, 110, ceiling cap
slow cooker, 50, 115, stoneware lid
folding bed frame, 140, 260, center leg
weather station, 60, 130, outdoor sensor
espresso machine, 190, 390, drip tray
travel cot, 80, 150, mattress clip
plant stand, 28, 58, top ring
sewing machine, 130, 280, foot pedal
""")

LADDERS = (
    (("Basic", 9), ("Plus", 15), ("Family", 24), ("Pro", 39)),
    (("Starter", 7), ("Standard", 12), ("Premium", 22), ("Business", 35)),
)
RESERVED_LADDERS = ((("Lite", 6), ("Home", 13), ("Crew", 26), ("Studio", 44)),)

CODES = (
    "SPRING15", "WELCOME10", "HARBOR20", "SUMMER15", "FRIEND10", "NEWHOME20", "LIGHTS15", "KITCHEN10",
    "WEEKEND15", "GARDEN20", "EARLY10", "THANKS15",
)  # fmt: skip
RESERVED_CODES = ("ANCHOR15", "COZY20", "AUTUMN10", "MOVING15")
