"""Contact times: the earliest instant at which the gap between two bodies closes.

Two bodies move relative to each other on p + v t + a t^2 / 2, with position p, velocity v and
acceleration a at time 0. With h = a / 2, the gap between them is a polynomial of the time t:

    ball - line     gap(t) = n.p - reach + (n.v) t + (n.h) t^2                                   (1)
    ball - point    gap(t) = |p + v t + h t^2|^2 - reach^2, quartic, quadratic where h = 0   (2)

Here n is the unit normal of the line and reach the sum of the two radii in metres. A contact is a
root at which the gap decreases. The functions `*_time` return the time of the first contact, or
`end`, the end of the search, if there is none before it.

Only + - * / and sqrt of IEEE float64 are used, in a fixed order and on Python floats. So every
root is bitwise the same on any machine. There is no library exp, sin or pow, no BLAS and no
fused multiply-add, because their last bit differs between processors.
"""

import itertools
import math

# metres: a gap up to this size is a lasting contact, or one that was just resolved
TOUCHING = 1e-9
Pair = tuple[float, float]  # (x, y) of a vector


def roots(c: tuple[float, ...], end: float) -> list[float]:
    """Returns the real roots t of the polynomial c[0] + c[1] t + c[2] t^2 + ... in (0, end), in
    ascending order.

    From degree 3 on, roots are found by bisection between the roots of the derivative.
    """
    while len(c) > 1 and c[-1] == 0.0:
        c = c[:-1]
    if len(c) <= 1:
        return []
    if len(c) == 2:
        t = -c[0] / c[1]
        return [t] if 0.0 < t < end else []
    if len(c) == 3:
        d = c[1] * c[1] - 4.0 * c[2] * c[0]
        if d < 0.0:
            return []
        # The numerically stable form: the larger root first, the other from their product.
        q = -0.5 * (c[1] + (math.sqrt(d) if c[1] >= 0.0 else -math.sqrt(d)))
        found = [q / c[2]] + ([c[0] / q] if q != 0.0 else [])
        return sorted(t for t in found if 0.0 < t < end)

    def value(t: float) -> float:
        total = 0.0
        for a in reversed(c):
            total = total * t + a
        return total

    stops = [0.0, *roots(tuple(i * a for i, a in enumerate(c))[1:], end), end]
    found = []
    for low, high in itertools.pairwise(stops):
        below = value(low)
        if (below > 0.0) == (value(high) > 0.0):
            continue
        while True:
            middle = 0.5 * (low + high)
            if middle <= low or middle >= high:
                break
            if (value(middle) > 0.0) == (below > 0.0):
                low = middle
            else:
                high = middle
        found.append(high)
    return found


def line_time(gap: float, v: float, a: float, end: float) -> float:
    """Returns the time in s at which a ball touches an infinite line, or `end` if it does not
    before `end`.

    Args:
        gap: distance in metres between the surface of the ball and the line, at time 0.
        v: velocity of the ball along the line's normal, m/s; < 0 towards the line.
        a: acceleration of the ball along the normal, m/s^2.
        end: end of the search, s.
    """
    if gap <= 0.0:
        if v < 0.0:
            return 0.0
        if a < 0.0:  # just left the line: equation (1) without its root at zero
            t = -2.0 * v / a
            return t if 0.0 < t < end else end
        return end
    if a == 0.0:
        if v >= 0.0:
            return end
        t = gap / -v
        return t if t < end else end
    for t in roots((gap, v, 0.5 * a), end):
        if v + a * t < 0.0:
            return t
    return end


def edge_time(
    p: Pair, v: Pair, a: Pair, normal: Pair, length: float, reach: float, end: float
) -> float:
    """Returns the time in s at which a ball touches an edge, or `end` if it does not before `end`.

    The edge starts at the origin and runs `length` metres along its tangent (ny, -nx).

    Args:
        p, v, a: (x, y) of the ball's position, velocity and acceleration relative to the edge, in
            m, m/s and m/s^2.
        normal: unit normal (nx, ny) of the edge.
        length: of the edge, metres.
        reach: distance of the ball's centre from the edge at which they touch, metres.
        end: end of the search, s.
    """
    nx, ny = normal
    gap, vn, an = nx * p[0] + ny * p[1] - reach, nx * v[0] + ny * v[1], nx * a[0] + ny * a[1]
    if gap > TOUCHING and vn >= 0.0 and an >= 0.0:
        return end
    s, vs, hs = ny * p[0] - nx * p[1], ny * v[0] - nx * v[1], 0.5 * (ny * a[0] - nx * a[1])
    if -TOUCHING <= gap <= TOUCHING:
        if vn < 0.0 and 0.0 <= s <= length:
            return 0.0
        times = [-2.0 * vn / an] if an < 0.0 and vn > 0.0 else []
    else:
        times = [t for t in roots((gap, vn, 0.5 * an), end) if vn + an * t < 0.0]
    for t in times:
        if t < end and 0.0 <= s + (vs + hs * t) * t <= length:
            return t
    return end


def point_time(
    p: Pair,
    v: Pair,
    a: Pair,
    reach: float,
    end: float,
    touching: float = TOUCHING,
    least: float = 1e-13,
) -> float:
    """Returns the time in s at which a ball touches a point or another ball, or `end` if it does
    not before `end`.

    The gap here is that of equation (2), a difference of squared distances.

    Args:
        p, v, a: (x, y) of relative position, velocity and acceleration, in m, m/s and m/s^2.
        reach: distance of the centres at which they touch, metres.
        end: end of the search, s.
        touching: square metres; a gap up to this size that closes is a contact at time 0. Default:
            TOUCHING.
        least: m^2/s; a gap that closes more slowly is a graze, not a contact. A ball that rolls
            over a corner passes it this way. Default: 1e-13.
    """
    dx, dy = p
    gap = dx * dx + dy * dy - reach * reach
    closing = dx * v[0] + dy * v[1]
    if gap <= touching and 2.0 * closing < -least:
        return 0.0
    hx, hy = 0.5 * a[0], 0.5 * a[1]
    if hx == 0.0 and hy == 0.0:
        if closing >= 0.0:
            return end
        c = (gap, 2.0 * closing, v[0] * v[0] + v[1] * v[1], 0.0, 0.0)
    elif _comes_near(dx, v[0], hx, reach, end) and _comes_near(dy, v[1], hy, reach, end):
        c = (
            gap,
            2.0 * closing,
            v[0] * v[0] + v[1] * v[1] + 2.0 * (dx * hx + dy * hy),
            2.0 * (v[0] * hx + v[1] * hy),
            hx * hx + hy * hy,
        )
    else:
        return end
    for t in roots(c, end):
        # the derivative of the gap: a contact only where it closes fast enough
        if c[1] + t * (2.0 * c[2] + t * (3.0 * c[3] + t * 4.0 * c[4])) < -least:
            return t
    return end


def _comes_near(d: float, v: float, h: float, reach: float, end: float) -> bool:
    """Returns whether one coordinate d + v t + h t^2 comes within `reach` of 0 before `end`.

    If it does not, there is no contact, so the quartic (2) need not be solved.
    """
    least = greatest = d
    for t in (end, -v / (2.0 * h)) if h != 0.0 else (end,):
        if 0.0 < t <= end:
            q = d + (v + h * t) * t
            least, greatest = min(least, q), max(greatest, q)
    return least <= reach and greatest >= -reach
