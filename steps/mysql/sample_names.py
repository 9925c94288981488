"""Names for sample employees, departments and titles; some with letters beyond ASCII, as real data has them."""

from __future__ import annotations


def _words(text: str) -> list[str]:
    return text.split()


FIRST = {
    "M": _words(
        """
        Adrian Ahmed Alvaro Amir Anders Andrei Anton Arjun Arne Bastian Benoît Björn Bruno Carlos Chen Cyril
        Dario David Diego Dmitri Eduardo Elias Emil Enzo Erik Fabian Farid Felipe Finn Florian Georgi Goran
        Gustav Hamid Hao Henrik Hiroshi Hugo Ibrahim Igor Ivan Jakob Jan Javier Jens Joaquín Johan Jonas
        José Juhani Kaito Karim Kenji Khalid Lars Leon Liam Lukas Łukasz Malik Marco Marek Mateo Matthias
        Mehmet Miguel Milan Moritz Nabil Nikolai Noah Olaf Omar Oscar Pablo Patrick Pavel Pedro Petr Qiang
        Rafael Ravi René Ricardo Roman Ruben Samir Sergei Simon Stefan Sven Taro Thomas Tomás Umar Viktor
        Wei Willem Xavier Yusuf Zoltán
        """
    ),
    "F": _words(
        """
        Agnes Aiko Alba Alina Amara Amélie Ana Anja Anneke Ayşe Beatriz Bianca Camila Carmen Chiara Clara
        Dagmar Daniela Diana Dorota Elena Elif Elisa Emma Esther Eva Fatima Fiona Freya Gabriela Giulia
        Greta Hana Hanna Helena Hélène Ida Ilse Ines Ingrid Irina Isabel Ivana Jana Johanna Judith Julia
        Kamala Karin Katarina Keiko Klara Laila Lan Laura Lea Leila Lena Lina Linnéa Lucía Magda Maja Malin
        Manon Maria Marit Marta Mei Mia Mila Mina Mira Nadia Naomi Nina Noor Nora Olga Paula Petra Priya
        Rania Renata Rosa Ruth Sabine Salma Sara Selma Silvia Sofía Sonja Tamara Tanja Ulrike Vera Wanda Xin
        Yara Yuki Zofia Zoë
        """
    ),
}

LAST = _words(
    """
        Abbas Acosta Adler Aguilar Akin Albrecht Almeida Amato Andersen Aoki Arslan Azevedo Baker Balogh
        Baran Barros Bauer Becker Bellini Benítez Berg Bianchi Blanc Blom Bondarenko Borg Bosch Brandt Braun
        Brunner Campos Castro Chan Chaudhry Christensen Colombo Conti Cruz Csonka Dahl Danner De-Vries
        Delgado Demir Diallo Dias Dietrich Duarte Dubois Dupont Dvořák Eder Ekström Eriksen Esposito Faber
        Farkas Fernandes Ferrari Fischer Flores Fontaine Friis Fujita Garcia Gerber Ghosh Giordano González
        Gruber Gupta Haas Hagen Halvorsen Hamada Hansen Hartmann Hassan Heikkinen Herrera Hoffmann Holm
        Horváth Huang Huber Ibáñez Ishikawa Ivanov Jansen Janssen Jensen Jiménez Johansson Kaiser Kapoor
        Kaya Keller Khan Kim Klein Kobayashi Koch Kovács Kowalski Kraus Krüger Kumar Lambert Lang Larsen
        Laurent Lee Lehmann Lemaire Leroy Li Lindberg Liu Lombardi Lopez Lund Maier Mäkinen Malik Marchetti
        Marino Martin Marín Mazur Medina Mehta Mendes Meyer Mitchell Molnár Moreau Moreno Moser Müller Nagy
        Nakamura Navarro Nel Neumann Nguyen Nielsen Nilsson Novák Nowak Nunes Okafor Olsen Ortega Osman
        Öztürk Park Patel Pavlov Pereira Petersen Petrov Pires Popescu Prieto Quintero Rahman Ramos Reyes
        Ricci Richter Rinaldi Rivera Romano Rossi Roth Ruiz Saito Salazar Santos Sato Schmid Schneider
        Schulz Sharma Silva Simon Singh Sokolov Sørensen Souza Steiner Suzuki Svensson Takahashi Tan Torres
        Tóth Tran Ueda Urban Vargas Vasquez Vega Virtanen Vogel Volkov Wagner Walker Wang Weber Weiss
        Winkler Wolf Wong Yamada Yang Yilmaz Zhang Zhou Ziegler Zimmermann
        """
)

DEPARTMENTS = (
    "Customer Service",
    "Development",
    "Finance",
    "Human Resources",
    "Marketing",
    "Production",
    "Quality Management",
    "Research",
    "Sales",
)

WEIGHTS = (7, 26, 5, 5, 6, 22, 6, 6, 17)
"""Share of the employees in each department, in percent."""

STARTING_PAY = (45_000, 52_000, 60_000, 46_000, 58_000, 49_000, 47_000, 54_000, 66_000)
"""Median first salary in each department, a year."""

LADDERS = {
    "Development": ("Engineer", "Senior Engineer", "Technique Leader"),
    "Production": ("Engineer", "Senior Engineer", "Technique Leader"),
    "Quality Management": ("Assistant Engineer", "Engineer", "Senior Engineer"),
}
LADDER = ("Staff", "Senior Staff", "Principal")
"""Titles in the order in which an employee gets them; the departments above have their own."""

MANAGER = "Manager"
