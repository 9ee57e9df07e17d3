"""Two simulated catchments, one with snow and one without, whose true storages are known every day.

The chapter takes basins of CAMELS and compares memory cells with the states of a calibrated hydrological model, "far from optimal"
in its own words. Here the states are those that made the discharge.

Weather, one value a day: a two-state Markov chain of wet and dry days with exponential amounts, wet in winter; a seasonal cycle of
temperature and radiation with autoregressive anomalies, clouds on wet days; vapour pressure from the daily minimum (Tetens 1930).

Water, in mm and mm a day::

    rain, snowfall   precipitation at daily means from 0 °C, below it
    melt           = (ddf + a · radiation) · max(T, 0), at most SWE                 degree days with radiation, after Hock 1999
    pet            = 0.0864 radiation / 2.45 · max(T + 5, 0) / 60                    after Oudin et al. 2005, who divide the radiation
                                                                                    above the atmosphere by 100; ours is at the ground
    et             = pet · min(1, UZS / capacity)
    SWE'           = SWE + snowfall - melt
    UZS'           = UZS + rain + melt - et - (k_quick + k_percolation) · UZS       upper zone: a linear storage with two outlets
    LZS'           = LZS + k_percolation · UZS - k_base · LZS                       lower zone: a linear storage
    discharge      = k_quick · UZS + k_base · LZS
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

INPUTS = ("precipitation", "radiation", "tmin", "tmax", "vapour")
UNITS = {"precipitation": "mm/d", "radiation": "W/m²", "tmin": "°C", "tmax": "°C", "vapour": "Pa"}
STATES = ("SWE", "UZS", "LZS")
FIRST_DAY = "1980-10-01"  # the first day of a water year


@dataclass(frozen=True)
class Climate:
    """Weather and water of one basin.

    Attributes:
        temperature, amplitude: of the daily mean through the year, °C; coldest on 20 January.
        wet, wet_amplitude: probability of a wet day through the year, highest on 15 January.
        amount: mean precipitation of a wet day, mm.
        degree_days, radiation_melt: ddf in mm/(d °C), a in mm/(d °C) per W/m².
        quick, percolation, base: outflow of the storages per day.
        capacity: water of the upper zone below which evaporation is limited, mm.
    """

    temperature: float
    amplitude: float
    wet: float = 0.42
    wet_amplitude: float = 0.26
    amount: float = 7.0
    degree_days: float = 1.0
    radiation_melt: float = 0.008
    quick: float = 0.12
    percolation: float = 0.05
    base: float = 0.015
    capacity: float = 12.0


CLIMATES = {"A": Climate(temperature=3.0, amplitude=10.0), "B": Climate(temperature=14.0, amplitude=6.0)}
"""A: most precipitation falls as snow. B: the same weather 11 °C warmer and more even, no snow."""


@dataclass(frozen=True, eq=False)
class Basin:
    """One catchment, day by day.

    Attributes:
        dates: (days,) datetime64[D].
        inputs: (days, 5), the columns of ``INPUTS``.
        states: (days, 3), the columns of ``STATES`` at the end of the day, mm.
        discharge: (days,), mm/d.
        snow_fraction: the share of precipitation that fell as snow.
    """

    dates: np.ndarray
    inputs: np.ndarray
    states: np.ndarray
    discharge: np.ndarray
    snow_fraction: float

    @property
    def day_of_year(self) -> np.ndarray:
        """(days,), 1 to 366."""
        return (self.dates - self.dates.astype("datetime64[Y]").astype("datetime64[D]")).astype(int) + 1


def simulate(climate: Climate, years: int = 33, seed: int = 0, first_day: str = FIRST_DAY) -> Basin:
    """Weather and water of a basin.

    Args:
        climate: see there.
        years: how many.
        seed: decides the weather.
        first_day: a date.
    """
    year, month_and_day = first_day[:4], first_day[4:]
    dates = np.arange(first_day, f"{int(year) + years}{month_and_day}", dtype="datetime64[D]")
    weather = _weather(climate, dates, np.random.default_rng(seed))
    states, discharge = water(climate, weather)
    snow = weather[(weather[:, 2] + weather[:, 3]) / 2 < 0, 0].sum()
    return Basin(dates, weather, states, discharge, float(snow / weather[:, 0].sum()))


def _weather(climate: Climate, dates: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """(days, 5)."""
    days = len(dates)
    angle = 2 * np.pi * (dates - dates.astype("datetime64[Y]").astype("datetime64[D]")).astype(int) / 365.25
    wet = _chain(np.clip(climate.wet + climate.wet_amplitude * np.cos(angle - 2 * np.pi * 14 / 365.25), 0.02, 0.95), random)
    precipitation = np.where(wet, random.exponential(climate.amount, days), 0.0)
    warm = climate.temperature - climate.amplitude * np.cos(angle - 2 * np.pi * 19 / 365.25)
    mean = warm + _autoregressive(days, 0.75, 2.2, random)
    clear = 190.0 - 110.0 * np.cos(angle + 2 * np.pi * 10 / 365.25)  # longest day 21 June
    radiation = clear * np.where(wet, 0.55, 0.95) * np.exp(random.normal(0, 0.12, days))
    spread = np.where(wet, 3.0, 5.5) * np.exp(random.normal(0, 0.2, days))  # clear nights are cold
    tmin, tmax = mean - spread, mean + spread
    vapour = 610.8 * np.exp(17.27 * tmin / (tmin + 237.3)) * np.exp(random.normal(0, 0.05, days))
    return np.stack([precipitation, radiation, tmin, tmax, vapour], axis=1)


def _chain(probability: np.ndarray, random: np.random.Generator, memory: float = 0.35) -> np.ndarray:
    """Wet days: tomorrow is like today with probability ``memory``, and drawn afresh otherwise; (days,) bool."""
    days = len(probability)
    fresh, again = random.random(days) < probability, random.random(days) < memory
    wet = fresh.copy()
    for day in range(1, days):
        if again[day]:
            wet[day] = wet[day - 1]
    return wet


def _autoregressive(days: int, memory: float, deviation: float, random: np.random.Generator) -> np.ndarray:
    steps = random.normal(0, deviation * (1 - memory**2) ** 0.5, days)
    for day in range(1, days):
        steps[day] += memory * steps[day - 1]
    return steps


def water(climate: Climate, weather: np.ndarray, start: tuple[float, float, float] = (0.0, 30.0, 50.0)) -> tuple[np.ndarray, np.ndarray]:
    """States (..., days, 3) at the end of each day and discharge (..., days) for weather (..., days, 5); copies run side by side."""
    days = weather.shape[-2]
    states, discharge = np.zeros((*weather.shape[:-1], 3)), np.zeros(weather.shape[:-1])
    mean = (weather[..., 2] + weather[..., 3]) / 2
    snowfall = np.where(mean < 0, weather[..., 0], 0.0)
    rain = weather[..., 0] - snowfall
    possible_melt = (climate.degree_days + climate.radiation_melt * weather[..., 1]) * np.maximum(mean, 0.0)
    pet = 0.0864 * weather[..., 1] / 2.45 * np.maximum(mean + 5, 0) / 60
    swe, upper, lower = start
    for day in range(days):
        swe = swe + snowfall[..., day]
        melt = np.minimum(swe, possible_melt[..., day])
        swe = swe - melt
        quick, percolation, base = climate.quick * upper, climate.percolation * upper, climate.base * lower
        et = np.minimum(pet[..., day] * np.minimum(1.0, upper / climate.capacity), upper - quick - percolation)
        upper = upper + rain[..., day] + melt - et - quick - percolation
        lower = lower + percolation - base
        states[..., day, 0], states[..., day, 1], states[..., day, 2] = swe, upper, lower
        discharge[..., day] = quick + base
    return states, discharge


def true_effects(climate: Climate, basin: Basin, last: int, steps: int, reference: float) -> np.ndarray:
    """What each past day's precipitation really did: discharge of a day minus what it had been with another amount on that day.

    Args:
        climate: of the basin.
        basin: see there.
        last: the day whose discharge is asked about, an index.
        steps: how many days back, the day itself included.
        reference: the other amount, mm.

    Returns:
        (steps,), mm/d, the last for the day itself.
    """
    first = last - steps + 1
    window = basin.inputs[first : last + 1]
    copies = np.repeat(window[None], steps, axis=0)
    copies[np.arange(steps), np.arange(steps), 0] = reference
    start = tuple(basin.states[first - 1])
    return basin.discharge[last] - water(climate, copies, start)[1][:, -1]
