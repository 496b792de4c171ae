"""Activation functions of one number and their derivatives, from the formulas, with Python's floats."""

import math


def sigmoid(x):
    return 1 / (1 + math.exp(-x)) if x >= 0 else math.exp(x) / (1 + math.exp(x))


def sigmoid_derivative(x):
    return sigmoid(x) * sigmoid(-x)


def tanh(x):
    return 2 * sigmoid(2 * x) - 1


def tanh_derivative(x):
    return 4 * sigmoid_derivative(2 * x)


def relu(x):
    return max(x, 0.0)


def relu_derivative(x):
    return float(x > 0)


def leaky_relu(x):
    return x if x > 0 else 0.01 * x


def leaky_relu_derivative(x):
    return 1.0 if x > 0 else 0.01


def prelu(x, slope):
    return x if x > 0 else slope * x


def prelu_derivative(x, slope):
    return 1.0 if x > 0 else slope


def prelu_slope_derivative(x, slope):
    return min(x, 0.0)


def elu(x):
    return x if x > 0 else math.expm1(x)


def elu_derivative(x):
    return 1.0 if x > 0 else math.exp(x)
