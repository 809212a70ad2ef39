// SPDX-License-Identifier: MIT
#include "rotorquant/random.h"

int main() {
  return rotorquant::Rng(1).bits() != rotorquant::Rng(2).bits() ? 0 : 1;
}
